import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { useState } from 'react';
import { failureOf } from '../../net/client.js';
import { useSession } from '../../net/context.jsx';
import type { Refusal } from '../../net/refusals.js';
import { useToast } from '../../ui/toasts.jsx';

/** The operator's mutations: all answer with refusals only. What is in the way is said in a toast. */
export function useAct() {
  const { api } = useSession();
  const say = useToast();
  const [busy, setBusy] = useState(false);
  /** True when it was accepted. */
  const act = async <Input>(
    document: TypedDocumentNode<Record<string, unknown>, { input: Input }>,
    input: Input,
  ): Promise<boolean> => {
    setBusy(true);
    const { data, error } = await api.client.mutation(document, { input }).toPromise();
    setBusy(false);
    if (error) {
      say(failureOf(error).message, 'error');
      return false;
    }
    const [refusal] = Object.values(data ?? {}).flatMap(
      (payload) => (payload as { errors?: readonly Refusal[] } | null)?.errors ?? [],
    );
    if (refusal) say(refusal.message, 'error');
    return !refusal;
  };
  return { act, busy };
}
