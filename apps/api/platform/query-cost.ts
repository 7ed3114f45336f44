import {
  getNamedType,
  getNullableType,
  isCompositeType,
  isListType,
  Kind,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLCompositeType,
  type GraphQLSchema,
  type SelectionSetNode,
} from 'graphql';
import { DEFAULT_PAGE, MAX_PAGE } from './connections.js';

/** Objects a plain list is taken to have: how many there are is not known before it is read. */
const LIST = 3;

/** Costs that no variable changes, by operation. Documents that come often are parsed once, so they are found again. */
const fixed = new WeakMap<DocumentNode, Map<string | undefined, number>>();

/**
 * About how many fields an operation makes the api answer: pages count as often as they may have items, whether their
 * size stands in the query, in a variable, or is left to the default. For documents that are valid (no fragment
 * cycles); 0 for an operation that is not there.
 */
export function queryCost(
  schema: GraphQLSchema,
  document: DocumentNode,
  variables: Readonly<Record<string, unknown>> = {},
  operationName?: string | null,
): number {
  const name = operationName ?? undefined;
  const before = fixed.get(document)?.get(name);
  if (before !== undefined) return before;
  let varies = false;
  const operations = document.definitions.filter((d) => d.kind === Kind.OPERATION_DEFINITION);
  const operation = operationName ? operations.find((o) => o.name?.value === operationName) : operations[0];
  const root = operation && schema.getRootType(operation.operation);
  if (!operation || !root) return 0;
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions)
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  /** A variable that is not given has the default its operation declares. */
  const defaults = new Map(operation.variableDefinitions?.map((v) => [v.variable.name.value, v.defaultValue]));
  const ofFragments = new Map<string, number>();

  const typed = (name: string | undefined, fallback: GraphQLCompositeType): GraphQLCompositeType => {
    const type = name === undefined ? undefined : schema.getType(name);
    return isCompositeType(type) ? type : fallback;
  };
  const numberOf = (field: FieldNode, name: string): number | undefined => {
    let value = field.arguments?.find((a) => a.name.value === name)?.value;
    if (value?.kind === Kind.VARIABLE) {
      varies = true;
      const given = variables[value.name.value];
      if (given !== undefined) return typeof given === 'number' ? given : undefined;
      value = defaults.get(value.name.value);
    }
    return value?.kind === Kind.INT ? Number(value.value) : undefined;
  };
  const ofSelections = (set: SelectionSetNode, parent: GraphQLCompositeType): number =>
    set.selections.reduce((sum, selection) => {
      switch (selection.kind) {
        case Kind.FIELD:
          return sum + ofField(selection, parent);
        case Kind.INLINE_FRAGMENT:
          return sum + ofSelections(selection.selectionSet, typed(selection.typeCondition?.name.value, parent));
        case Kind.FRAGMENT_SPREAD:
          return sum + ofFragment(selection.name.value, parent);
      }
    }, 0);
  const ofFragment = (name: string, parent: GraphQLCompositeType): number => {
    const fragment = fragments.get(name);
    if (!fragment) return 0;
    let cost = ofFragments.get(name);
    if (cost === undefined) {
      cost = ofSelections(fragment.selectionSet, typed(fragment.typeCondition.name.value, parent));
      ofFragments.set(name, cost);
    }
    return cost;
  };
  const ofField = (field: FieldNode, parent: GraphQLCompositeType): number => {
    const definition = 'getFields' in parent ? parent.getFields()[field.name.value] : undefined;
    const type = definition && getNamedType(definition.type);
    // Introspection and `__typename` cost nothing of ours.
    if (!definition || !field.selectionSet || !isCompositeType(type)) return definition ? 1 : 0;
    const children = ofSelections(field.selectionSet, type);
    if (type.name.endsWith('Connection')) {
      const size = numberOf(field, 'first') ?? numberOf(field, 'last') ?? DEFAULT_PAGE;
      return 1 + Math.max(1, Math.min(size, MAX_PAGE)) * children;
    }
    // The size of a page is counted where it is asked for.
    const times = isListType(getNullableType(definition.type)) && field.name.value !== 'edges' ? LIST : 1;
    return 1 + times * children;
  };
  const cost = ofSelections(operation.selectionSet, root);
  if (varies) return cost;
  const known = fixed.get(document) ?? new Map<string | undefined, number>();
  fixed.set(document, known.set(name, cost));
  return cost;
}
