import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { useEffect, useEffectEvent } from 'react';
import { backOff } from './resume.js';
import { useSession } from './context.jsx';

/**
 * Delivers every message of a subscription from `variables` on, until they change or the component goes. Cuts of the line are
 * healed below (net/resume.ts). When the server itself ends or refuses the subscription, `lost` is asked to bring the state up to
 * date and the subscription begins again from what it answers.
 */
export function useLive<Result, Variables extends Record<string, unknown>>(
  document: TypedDocumentNode<Result, Variables>,
  variables: Variables | null,
  onMessage: (data: Result) => void,
  lost?: () => void,
): void {
  const { api } = useSession();
  const deliver = useEffectEvent(onMessage);
  const report = useEffectEvent(() => lost?.());
  const key = variables === null ? null : JSON.stringify(variables);
  useEffect(() => {
    if (key === null) return;
    const from = JSON.parse(key) as Variables;
    let over = false;
    let attempt = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let running: { unsubscribe(): void } | undefined;
    const again = () => {
      if (over || timer !== undefined) return;
      timer = setTimeout(
        () => {
          timer = undefined;
          report();
          begin();
        },
        backOff(attempt++, Math.random(), 1_000, 15_000),
      );
    };
    const begin = () => {
      if (over) return;
      running?.unsubscribe();
      running = api.client.subscription(document, from).subscribe((result) => {
        if (over) return;
        if (result.error) again();
        else if (result.data) {
          attempt = 0;
          deliver(result.data);
        }
      });
    };
    begin();
    return () => {
      over = true;
      clearTimeout(timer);
      running?.unsubscribe();
    };
  }, [api, document, key]);
}
