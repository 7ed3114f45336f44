import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Module, type DynamicModule, type Provider } from '@nestjs/common';
import { GraphQLModule } from '@nestjs/graphql';
import type { CommandExecutor, EventLog, RefusalAuditor } from '#libs/events/log/index.js';
import type { UploadService } from '#libs/media/index.js';
import type { Jobs } from '#libs/jobs/index.js';
import type { Config, Logger } from '#libs/runtime/index.js';
import type { Secrets } from '#libs/secrets/index.js';
import { OperationsFeed, OperationsView } from './console/operations.js';
import { Operators } from './console/operators.js';
import { AsOfReads } from './history/as-of-reads.js';
import { Access } from './platform/access.js';
import { Changes } from './platform/changes.js';
import { Commands } from './platform/commands.js';
import { SharedReads } from './platform/deliveries.js';
import { GraphqlEdge } from './platform/graphql-edge.js';
import { ReadStore } from './platform/read-store.js';
import { RollCall } from './platform/roll-call.js';
import { CONFIG, JOBS, LOG, SECRETS, UPLOADS } from './platform/tokens.js';
import { RESOLVERS } from './resolvers.js';
import { MediaUrls } from './review/media-urls.js';

/** What the process opened before the api is assembled. */
export interface ApiParts {
  readonly config: Config;
  readonly logger: Logger;
  readonly log: EventLog;
  readonly executor: CommandExecutor;
  readonly audit: RefusalAuditor;
  readonly store: ReadStore;
  readonly access: Access;
  readonly changes: Changes;
  readonly secrets: Secrets;
  readonly uploads: UploadService;
  readonly jobs: Jobs;
  readonly asOf: AsOfReads;
}

@Module({})
export class AppModule {
  static of(parts: ApiParts, edge: GraphqlEdge): DynamicModule {
    const operations = new OperationsView(parts.log, parts.store, parts.jobs, parts.changes);
    const providers: Provider[] = [
      { provide: CONFIG, useValue: parts.config },
      { provide: LOG, useValue: parts.log },
      { provide: SECRETS, useValue: parts.secrets },
      { provide: UPLOADS, useValue: parts.uploads },
      { provide: JOBS, useValue: parts.jobs },
      { provide: ReadStore, useValue: parts.store },
      { provide: SharedReads, useValue: new SharedReads(parts.store) },
      { provide: AsOfReads, useValue: parts.asOf },
      { provide: Access, useValue: parts.access },
      { provide: Changes, useValue: parts.changes },
      {
        provide: RollCall,
        useValue: new RollCall(
          parts.store,
          () => parts.changes.subscribers(),
          (err) => parts.logger.warn({ err }, 'could not answer who follows changes here'),
        ),
      },
      { provide: Commands, useValue: new Commands(parts.executor, parts.access, parts.audit) },
      { provide: OperationsView, useValue: operations },
      {
        provide: OperationsFeed,
        useValue: new OperationsFeed(operations, (err) =>
          parts.logger.warn({ err }, 'operations could not be looked at'),
        ),
      },
      { provide: Operators, useValue: new Operators(parts.store) },
      MediaUrls,
      ...RESOLVERS,
    ];
    return {
      module: AppModule,
      imports: [
        GraphQLModule.forRoot<ApolloDriverConfig>({
          driver: ApolloDriver,
          path: '/graphql',
          autoSchemaFile: true,
          sortSchema: true,
          ...edge.options(),
        }),
      ],
      providers,
    };
  }
}
