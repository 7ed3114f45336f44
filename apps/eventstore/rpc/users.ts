import type { sendUnaryData, ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import pb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/usermanagement_pb.js';
import type { AccountDetails, AccountOutcome, Accounts } from '../security/accounts.js';
import type { Requirement } from '../security/guard.js';
import { parsed } from './routes.js';
import { isRpcError, rpc, type RpcError } from './status.js';

type Unary = (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => void;

const NOTHING = Buffer.alloc(0);

/** User management: changes by admins, the own password by everybody. Methods with who may call them. */
export function userMethods(accounts: Accounts): Record<string, { requires: Requirement; serve: Unary }> {
  return {
    Create: {
      requires: 'admins',
      serve: change((message) => {
        const options = pb.CreateReq.deserializeBinary(message).getOptions();
        const login = named(options?.getLoginName());
        const [password, fullName, groups] = [options!.getPassword(), options!.getFullName(), options!.getGroupsList()];
        return { login, outcome: () => accounts.create(login, password, fullName, groups) };
      }),
    },
    Update: {
      requires: 'admins',
      serve: change((message) => {
        const options = pb.UpdateReq.deserializeBinary(message).getOptions();
        const login = named(options?.getLoginName());
        return { login, outcome: () => accounts.update(login, options!.getFullName(), options!.getGroupsList()) };
      }),
    },
    Delete: {
      requires: 'admins',
      serve: change((message) => {
        const login = named(pb.DeleteReq.deserializeBinary(message).getOptions()?.getLoginName());
        return { login, outcome: () => accounts.delete(login) };
      }),
    },
    Enable: {
      requires: 'admins',
      serve: change((message) => {
        const login = named(pb.EnableReq.deserializeBinary(message).getOptions()?.getLoginName());
        return { login, outcome: () => accounts.enable(login) };
      }),
    },
    Disable: {
      requires: 'admins',
      serve: change((message) => {
        const login = named(pb.DisableReq.deserializeBinary(message).getOptions()?.getLoginName());
        return { login, outcome: () => accounts.disable(login) };
      }),
    },
    ResetPassword: {
      requires: 'admins',
      serve: change((message) => {
        const options = pb.ResetPasswordReq.deserializeBinary(message).getOptions();
        const login = named(options?.getLoginName());
        return { login, outcome: () => accounts.resetPassword(login, options!.getNewPassword()) };
      }),
    },
    ChangePassword: {
      requires: 'authenticated',
      serve: change((message) => {
        const options = pb.ChangePasswordReq.deserializeBinary(message).getOptions();
        const login = named(options?.getLoginName());
        const [current, next] = [options!.getCurrentPassword(), options!.getNewPassword()];
        return { login, outcome: () => accounts.changePassword(login, current, next) };
      }),
    },
  };
}

/** Details of one user, or of all when no name is given. As on the real server, whoever is signed in may ask. */
export function userDetails(accounts: Accounts) {
  return (call: ServerWritableStream<Buffer, Buffer>): void => {
    const options = parsed(() => pb.DetailsReq.deserializeBinary(call.request).getOptions());
    const login = options?.getLoginName().trim() ?? '';
    const found = login === '' ? accounts.all() : accounts.details(login).then((one) => (one ? [one] : undefined));
    found.then(
      (all) => {
        if (all === undefined) {
          call.emit('error', rpc.loginNotFound(login));
          return;
        }
        for (const details of all) call.write(detailsMessage(details));
        call.end();
      },
      (error: unknown) => call.emit('error', asRpcError(error)),
    );
  };
}

function change(read: (message: Buffer) => { login: string; outcome: () => Promise<AccountOutcome> }): Unary {
  return (call, callback) => {
    const run = async (): Promise<RpcError | undefined> => {
      const { login, outcome } = parsed(() => read(call.request));
      return refusal(login, await outcome());
    };
    run().then(
      (refused) => (refused ? callback(refused) : callback(null, NOTHING)),
      (error: unknown) => callback(asRpcError(error)),
    );
  };
}

function named(login: string | undefined): string {
  if (login === undefined || login === '') throw rpc.invalidArgument('The login name is empty.');
  if (login.includes('\0') || Buffer.byteLength(login) > 256)
    throw rpc.invalidArgument('The login name is not acceptable.');
  return login;
}

function refusal(login: string, outcome: AccountOutcome): RpcError | undefined {
  switch (outcome) {
    case 'done':
      return undefined;
    case 'not_found':
      return rpc.loginNotFound(login);
    case 'conflict':
      return rpc.loginConflict(login);
    case 'access_denied':
      return rpc.accessDenied();
    case 'try_again':
      return rpc.loginTryAgain(login);
  }
}

function asRpcError(error: unknown): RpcError {
  return isRpcError(error) ? error : rpc.unavailable(error instanceof Error ? error.message : String(error));
}

function detailsMessage({ loginName, fullName, groups, disabled, updatedTicks }: AccountDetails): Buffer {
  const updated = new pb.DetailsResp.UserDetails.DateTime();
  updated.setTicksSinceEpoch(updatedTicks);
  const details = new pb.DetailsResp.UserDetails();
  details.setLoginName(loginName);
  details.setFullName(fullName);
  details.setGroupsList([...groups]);
  details.setDisabled(disabled);
  details.setLastUpdated(updated);
  const message = new pb.DetailsResp();
  message.setUserDetails(details);
  return Buffer.from(message.serializeBinary());
}
