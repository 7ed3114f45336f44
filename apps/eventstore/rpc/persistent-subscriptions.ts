import type { sendUnaryData, ServerDuplexStream, ServerUnaryCall } from '@grpc/grpc-js';
import { groupKey } from '../core/persistent-settings.js';
import { ConnectedConsumer } from '../persistent/consumer.js';
import type { RunningGroup } from '../persistent/running-group.js';
import type { PersistentSubscriptions } from '../persistent/subscriptions.js';
import {
  deliveryFrame,
  infoResponse,
  listResponse,
  readDeleteRequest,
  readGroupRequest,
  readInfoRequest,
  readListRequest,
  readReadMessage,
  readReplayRequest,
  subscriptionConfirmation,
  type ReadMessage,
} from '../protocol/persistent-messages.js';
import { principalOf, type Guard, type Requirement } from '../security/guard.js';
import { FrameSink, type OpenCall } from './call.js';
import { parsed } from './routes.js';
import { isRpcError, rpc, type RpcError } from './status.js';

type UnaryCall = ServerUnaryCall<Buffer, Buffer>;
type Unary = (call: UnaryCall, callback: sendUnaryData<Buffer>) => void;

const NOTHING = Buffer.alloc(0);

function asRpcError(error: unknown): RpcError {
  if (isRpcError(error)) return error;
  // What is left comes from the database.
  return rpc.unavailable(error instanceof Error ? error.message : String(error));
}

function answer(serve: (call: UnaryCall) => Promise<Buffer>): Unary {
  return (call, callback) => {
    const run = async () => serve(call);
    run().then(
      (response) => callback(null, response),
      (error: unknown) => callback(asRpcError(error)),
    );
  };
}

/** Who calls, as statistics show it: where nobody is asked for a password, nobody is believed a name. */
function userOf(call: object): string {
  const principal = principalOf(call);
  return typeof principal === 'object' ? principal.name : principal;
}

/** Methods with one request and one answer, and who may call them. */
export function persistentSubscriptionMethods(
  subscriptions: PersistentSubscriptions,
): Record<string, { requires: Requirement; serve: Unary }> {
  return {
    Create: {
      requires: 'operators',
      serve: answer(async (call) => {
        const { source, group, settings } = parsed(() => readGroupRequest('create', call.request));
        await subscriptions.create(source, group, settings, userOf(call));
        return NOTHING;
      }),
    },
    Update: {
      requires: 'operators',
      serve: answer(async (call) => {
        const { source, group, settings } = parsed(() => readGroupRequest('update', call.request));
        await subscriptions.update(source, group, settings, userOf(call));
        return NOTHING;
      }),
    },
    Delete: {
      requires: 'operators',
      serve: answer(async (call) => {
        const { source, group } = parsed(() => readDeleteRequest(call.request));
        await subscriptions.remove(source, group, userOf(call));
        return NOTHING;
      }),
    },
    GetInfo: {
      requires: 'authenticated',
      serve: answer(async (call) => {
        const { source, group } = parsed(() => readInfoRequest(call.request));
        return infoResponse(await subscriptions.find(source, group).info());
      }),
    },
    List: {
      requires: 'authenticated',
      serve: answer(async (call) => {
        const source = parsed(() => readListRequest(call.request));
        return listResponse(await subscriptions.list(source));
      }),
    },
    ReplayParked: {
      requires: 'operators',
      serve: answer(async (call) => {
        const { source, group, stopAt } = parsed(() => readReplayRequest(call.request));
        if (stopAt !== undefined && stopAt < 0) {
          const reason = 'Cannot stop replaying parked message at a negative version.';
          throw rpc.persistentSubscriptionFailed(source, group, reason);
        }
        await subscriptions.find(source, group).replayParked(stopAt);
        return NOTHING;
      }),
    },
    RestartSubsystem: {
      requires: 'operators',
      serve: answer(async () => {
        await subscriptions.restart();
        return NOTHING;
      }),
    },
  };
}

/** Read: the first message says of what, the others acknowledge and refuse what was delivered. */
export function readPersistentSubscription(subscriptions: PersistentSubscriptions, guard: Guard, open: Set<OpenCall>) {
  return (call: ServerDuplexStream<Buffer, Buffer>): void => {
    const sink = new FrameSink(call, open);
    let joined: RunningGroup | undefined;
    let begun = false;

    const join = async (options: Extract<ReadMessage, { kind: 'options' }>) => {
      const { source, group, slots, structuredIds } = options;
      await guard.require(principalOf(call), 'read', source);
      const running = subscriptions.find(source, group);
      if (running.isFull) throw rpc.maximumSubscribersReached(source, group);
      const connectionName = call.metadata.get('connection-name')[0]?.toString() ?? '<unknown>';
      const consumer = new ConnectedConsumer(
        { username: userOf(call), connectionName },
        slots,
        running.definition.settings.extraStatistics,
        ({ frame, retryCount }) => void sink.send(deliveryFrame(frame, retryCount, structuredIds)),
        () => sink.fail(rpc.persistentSubscriptionDropped(source, group)),
      );
      void sink.send(subscriptionConfirmation(groupKey(source, group)));
      joined = running;
      running.connect(consumer);
      sink.whenCancelled(() => running.disconnect(consumer));
    };

    call.on('data', (bytes: Buffer) => {
      try {
        const message = parsed(() => readReadMessage(bytes));
        if (message.kind === 'options') {
          if (begun) throw rpc.invalidArgument('Options were sent twice.');
          begun = true;
          join(message).catch((error: unknown) => sink.fail(asRpcError(error)));
        } else if (!begun) throw rpc.invalidArgument('The first message must carry the options.');
        else if (message.kind === 'ack') joined?.acknowledge(message.ids);
        else joined?.refuse(message.ids, message.action, message.reason);
      } catch (error) {
        sink.fail(asRpcError(error));
      }
    });
    call.on('error', () => undefined);
    call.on('end', () => {
      if (!begun) sink.end();
    });
  };
}
