import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js';
import gossipPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/gossip_pb.js';
import featuresPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/serverfeatures_pb.js';
import sharedPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/shared_pb.js';

/** The version of the real server whose behaviour this one follows. */
export const PROTOCOL_VERSION = '24.6.0';

const PROJECTIONS = ['create', 'update', 'delete', 'statistics', 'disable', 'enable', 'reset', 'state', 'result'];

/** What stock clients may use; they fall back or refuse by themselves for what isn't listed. */
const SUPPORTED: readonly { service: string; method: string; features: readonly string[] }[] = [
  { service: 'event_store.client.streams.streams', method: 'read', features: ['position', 'events'] },
  { service: 'event_store.client.streams.streams', method: 'append', features: [] },
  { service: 'event_store.client.streams.streams', method: 'delete', features: [] },
  { service: 'event_store.client.streams.streams', method: 'tombstone', features: [] },
  { service: 'event_store.client.streams.streams', method: 'batchappend', features: ['deadline_duration'] },
  ...['create', 'update', 'delete', 'read', 'getinfo', 'replayparked', 'list', 'restartsubsystem'].map((method) => ({
    service: 'event_store.client.persistent_subscriptions.persistentsubscriptions',
    method,
    features: ['stream', 'all'],
  })),
  // Creating one is refused, which clients are to hear from here rather than to try elsewhere.
  ...PROJECTIONS.map((method) => ({
    service: 'event_store.client.projections.projections',
    method,
    features: method === 'create' ? ['track_emitted_streams'] : [],
  })),
  { service: 'kurrentdb.protocol.v2.streams.streamsservice', method: 'appendsession', features: [] },
  { service: 'kurrentdb.protocol.v2.streams.streamsservice', method: 'appendrecords', features: [] },
  ...['create', 'update', 'delete', 'enable', 'disable', 'details', 'changepassword', 'resetpassword'].map(
    (method) => ({
      service: 'event_store.client.users.users',
      method,
      features: [],
    }),
  ),
  ...[
    'startscavenge',
    'stopscavenge',
    'shutdown',
    'mergeindexes',
    'resignnode',
    'setnodepriority',
    'restartpersistentsubscriptions',
  ].map((method) => ({ service: 'event_store.client.operations.operations', method, features: [] })),
  { service: 'event_store.client.monitoring.monitoring', method: 'stats', features: [] },
  { service: 'event_store.client.gossip.gossip', method: 'read', features: [] },
  { service: 'event_store.client.server_features.serverfeatures', method: 'getsupportedmethods', features: [] },
];

type Unary = (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => void;

export function supportedMethods(): Unary {
  const message = new featuresPb.SupportedMethods();
  message.setEventStoreServerVersion(PROTOCOL_VERSION);
  for (const { service, method, features } of SUPPORTED) {
    const supported = new featuresPb.SupportedMethod();
    supported.setServiceName(service);
    supported.setMethodName(method);
    supported.setFeaturesList([...features]);
    message.addMethods(supported);
  }
  const response = Buffer.from(message.serializeBinary());
  return (_call, callback) => callback(null, response);
}

/** Gossip of a cluster of one: this node, which leads. */
export function gossip(instanceId: string, host: string, port: () => number): Unary {
  return (_call, callback) => {
    const id = new sharedPb.UUID();
    id.setString(instanceId);
    const endpoint = new gossipPb.EndPoint();
    endpoint.setAddress(host);
    endpoint.setPort(port());
    const member = new gossipPb.MemberInfo();
    member.setInstanceId(id);
    member.setTimeStamp(`${Date.now()}0000`);
    member.setState(gossipPb.MemberInfo.VNodeState.LEADER);
    member.setIsAlive(true);
    member.setHttpEndPoint(endpoint);
    const info = new gossipPb.ClusterInfo();
    info.setMembersList([member]);
    callback(null, Buffer.from(info.serializeBinary()));
  };
}
