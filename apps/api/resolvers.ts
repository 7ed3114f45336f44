import { AuditEntryResolver, AuditResolver } from './audit/audit.resolver.js';
import { ConsoleResolver } from './console/console.resolver.js';
import { HistoryResolver } from './history/history.resolver.js';
import { ControlResolver } from './console/control.resolver.js';
import { UpkeepResolver } from './console/upkeep.resolver.js';
import {
  IdentityResolver,
  LoginPayloadResolver,
  UserPayloadResolver,
  UserResolver,
} from './identity/identity.resolver.js';
import { OrganisationPayloadResolver, SetupResolver } from './identity/setup.resolver.js';
import { LiveResolver, ProjectChangeResolver, StackChangeResolver, WorkChangeResolver } from './live/live.resolver.js';
import {
  DeliverablePayloadResolver,
  DeliverableResolver,
  PipelineTemplatePayloadResolver,
  PipelineTemplateResolver,
  ProductionResolver,
  ProjectPayloadResolver,
  ProjectResolver,
  StagePayloadResolver,
  StageResolver,
} from './production/production.resolver.js';
import {
  ComparisonPayloadResolver,
  ComparisonResolver,
  ComparisonsResolver,
  VersionComparisonsResolver,
} from './review/comparison.resolver.js';
import {
  AnnotationPayloadResolver,
  AnnotationResolver,
  CommentPayloadResolver,
  CommentResolver,
  DecisionPayloadResolver,
  DecisionResolver,
  ReferencePayloadResolver,
  ReferenceResolver,
  ReviewResolver,
  StageStackResolver,
  VersionPayloadResolver,
  VersionResolver,
  VersionStackResolver,
  WithdrawVersionPayloadResolver,
} from './review/review.resolver.js';

/** Every resolver of the schema. */
export const RESOLVERS = [
  IdentityResolver,
  UserResolver,
  UserPayloadResolver,
  LoginPayloadResolver,
  SetupResolver,
  OrganisationPayloadResolver,
  ProductionResolver,
  PipelineTemplateResolver,
  PipelineTemplatePayloadResolver,
  ProjectResolver,
  ProjectPayloadResolver,
  DeliverableResolver,
  DeliverablePayloadResolver,
  StageResolver,
  StagePayloadResolver,
  StageStackResolver,
  ReviewResolver,
  VersionStackResolver,
  VersionResolver,
  VersionPayloadResolver,
  WithdrawVersionPayloadResolver,
  ReferenceResolver,
  ReferencePayloadResolver,
  CommentResolver,
  CommentPayloadResolver,
  AnnotationResolver,
  AnnotationPayloadResolver,
  DecisionResolver,
  DecisionPayloadResolver,
  ComparisonsResolver,
  VersionComparisonsResolver,
  ComparisonResolver,
  ComparisonPayloadResolver,
  LiveResolver,
  StackChangeResolver,
  ProjectChangeResolver,
  WorkChangeResolver,
  AuditResolver,
  AuditEntryResolver,
  HistoryResolver,
  ConsoleResolver,
  ControlResolver,
  UpkeepResolver,
];
