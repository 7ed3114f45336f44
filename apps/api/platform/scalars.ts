import { GraphQLError, GraphQLScalarType, Kind } from 'graphql';

/** Logs and databases count in signed 64 bits. */
const MOST = 2n ** 63n - 1n;

const decimal = (name: string, description: string) => {
  const parse = (value: unknown): string => {
    if (typeof value === 'string' && /^\d{1,20}$/.test(value) && BigInt(value) <= MOST) return value;
    throw new GraphQLError(`${name} must be a decimal string`, { extensions: { code: 'BAD_USER_INPUT' } });
  };
  return new GraphQLScalarType<string, string>({
    name,
    description,
    serialize: (value) => String(value),
    parseValue: parse,
    parseLiteral: (node) => parse(node.kind === Kind.STRING || node.kind === Kind.INT ? node.value : undefined),
  });
};

export const Position = decimal('Position', 'A position in the log, as a decimal string. Later is larger.');
export const ByteSize = decimal('ByteSize', 'Bytes, as a decimal string because files can be larger than 2^53.');

/** Only ever put out. */
export const Json = new GraphQLScalarType<unknown>({ name: 'JSON', description: 'Any JSON value.' });
