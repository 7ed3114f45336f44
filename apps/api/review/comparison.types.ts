import { ArgsType, Field, Float, ID, InputType, Int, ObjectType } from '@nestjs/graphql';
import type { ComparedKind } from '#libs/events/catalogue/index.js';
import type { MediaStatus } from '#libs/read-models/index.js';
import { ConnectionOf, PageArgs } from '../platform/connections.js';
import { ComparedKindEnum, MediaStatusEnum } from '../platform/enums.js';
import { CommandInput, Node, Payload } from '../platform/inputs.js';
import { FrameRange, Reference, Version } from './types.js';

@ObjectType({ description: 'One of the two that are compared.' })
export class ComparedMedium {
  @Field(() => Version) version: object;
  @Field(() => Reference, { nullable: true, description: 'Set when it is a reference beside that version.' })
  reference: object | null;
  @Field(() => Int, { nullable: true, description: 'How many frames it has; null until they were counted.' })
  frames: number | null;
}
@ObjectType({ description: 'Structural similarity, 1 for identical pictures.' })
export class Similarity {
  @Field(() => Float) mean: number;
  @Field(() => Float) min: number;
}
@ObjectType({ description: 'Ratio of signal to difference, dB. The mean is that of the errors.' })
export class SignalToNoise {
  @Field(() => Float) mean: number;
  @Field(() => Float) min: number;
}
@ObjectType({ description: 'Two frames that are the same picture.' })
export class ComparedPair {
  @Field(() => FrameRange) from: FrameRange;
  @Field(() => FrameRange) to: FrameRange;
  @Field(() => Float) ssim: number;
  @Field(() => Float, { nullable: true, description: 'dB; null for identical frames.' }) psnr: number | null;
}
@ObjectType({ description: 'A still that shows where two frames differ: dark where they are the same.' })
export class DifferenceStill {
  @Field(() => String, { nullable: true, description: 'Signed, short-lived, relative to the api.' }) url: string | null;
  @Field(() => FrameRange, { description: 'The frame it shows, of the earlier one.' }) from: FrameRange;
  @Field(() => FrameRange) to: FrameRange;
}
@ObjectType({ description: 'Frames of the two that are something to each other.' })
export class ComparedRange {
  @Field(() => ComparedKindEnum) kind: ComparedKind;
  @Field(() => FrameRange, { nullable: true, description: 'Of the earlier one; null for INSERTED.' })
  from: FrameRange | null;
  @Field(() => FrameRange, { nullable: true, description: 'Of the later one; null for REMOVED.' })
  to: FrameRange | null;
  @Field(() => Similarity, { nullable: true, description: 'Of the pairs in it, for CHANGED.' })
  ssim: Similarity | null;
  @Field(() => DifferenceStill, { nullable: true }) still: DifferenceStill | null;
}
export const ComparedRangeConnection = ConnectionOf(ComparedRange, 'ComparedRange');

@ObjectType({ description: 'Frames by what became of them.' })
export class ComparedCounts {
  @Field(() => Int) same: number;
  @Field(() => Int) changed: number;
  @Field(() => Int) moved: number;
  @Field(() => Int, { description: 'Of the later one.' }) retimed: number;
  @Field(() => Int) replaced: number;
  @Field(() => Int) inserted: number;
  @Field(() => Int, { description: 'Of the earlier one.' }) removed: number;
}

@ObjectType({
  implements: () => Node,
  description: 'How a version differs from another one, or from a reference: made once, from the originals.',
})
export class Comparison extends Node {
  @Field(() => MediaStatusEnum) status: MediaStatus;
  @Field() requestedAt: Date;
  @Field(() => Date, { nullable: true }) endedAt: Date | null;
  @Field({ description: 'There are more ranges than are listed; the report has them.' }) truncated: boolean;
}
export const ComparisonConnection = ConnectionOf(Comparison, 'Comparison');

@ArgsType()
export class ComparedRangesArgs extends PageArgs {
  @Field(() => [ComparedKindEnum], { nullable: true, description: 'Only these; default all.' })
  kinds?: ComparedKind[] | null;
}
@InputType()
export class CompareVersionsInput extends CommandInput {
  @Field(() => ID, { description: 'The later one.' }) versionId: string;
  @Field(() => ID, { description: 'What it is compared with; the same version for a reference beside it.' })
  withVersionId: string;
  @Field(() => ID, { nullable: true, description: 'A reference beside that version, in its place.' })
  withReferenceId?: string | null;
}
@ObjectType()
export class ComparisonPayload extends Payload {
  comparisonId?: string;
}
@ObjectType({ description: 'How far a comparison is. Live only: not history, and some may be lost.' })
export class ComparisonProgress {
  @Field(() => ID) comparisonId: string;
  @Field(() => Float, { description: 'From 0 to 1.' }) fraction: number;
  @Field() done: boolean;
}
