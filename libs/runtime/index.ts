export {
  type Config,
  ConfigError,
  type ConfigIssue,
  type Databases,
  databaseUrl,
  erasureListFolders,
  loadConfig,
  loadSettings,
  publicUrl,
  type Settings,
} from './config.js';
export {
  ERASURE_LIST,
  ErasureListError,
  extendErasureList,
  type ListedErasure,
  readErasureList,
} from './erasure-list.js';
export { createLogger, type Logger } from './logger.js';
export { isPrivateAddress, Outbound, OutboundError, type OutboundAnswer, type OutboundOptions } from './outbound.js';
export { redact, redactText } from './redact.js';
export { ensureSecrets, readSecrets, type Secrets } from './secrets-file.js';
export {
  EXIT_CONFIG,
  type RunningService,
  runService,
  type RunServiceOptions,
  type ServiceContext,
  type ServiceMessage,
} from './service.js';
export { type VariableName, variables } from './variables.js';
export { operatorToken } from './operator-token.js';
export { setupToken } from './setup-token.js';
