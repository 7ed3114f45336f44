import { Router, type Response } from 'express';
import { dataSchema, definitions, describeAsyncApi, type EventDefinition } from '#libs/events/catalogue/index.js';
import { schemaPath } from './cloud-event.js';

/** `/asyncapi.json` and `/schemas/<Type>.v<version>.json`, of this build: what `dataschema` of its messages names. Open to all. */
export function schemasRoute(): Router {
  const router = Router();
  const all = definitions as readonly EventDefinition[];
  const send = (type: string, body: string) => (_request: unknown, response: Response) =>
    void response.set({ 'content-type': type, 'cache-control': 'public, max-age=300' }).send(body);
  router.get('/asyncapi.json', send('application/json', JSON.stringify(describeAsyncApi(all))));
  for (const definition of all)
    router.get(
      schemaPath(definition.type, definition.version),
      send('application/schema+json', JSON.stringify(dataSchema(definition))),
    );
  return router;
}
