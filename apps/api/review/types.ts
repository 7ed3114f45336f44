import { ArgsType, Field, Float, ID, InputType, Int, ObjectType } from '@nestjs/graphql';
import type { MediaFacts, Outcome, Role, Verdict } from '#libs/events/catalogue/index.js';
import type { MediaStatus, VersionStatus } from '#libs/read-models/index.js';
import type { Use } from '#libs/media/index.js';
import { ConnectionOf } from '../platform/connections.js';
import {
  MediaKindEnum,
  MediaStatusEnum,
  MediaUseEnum,
  OutcomeEnum,
  RoleEnum,
  ShapeKindEnum,
  UploadStateEnum,
  VerdictEnum,
  VersionStatusEnum,
} from '../platform/enums.js';
import { CommandInput, Node, Payload, RevisionedInput } from '../platform/inputs.js';
import { GenericRefusal } from '../platform/refusals.js';
import { ByteSize, Position } from '../platform/scalars.js';

type ShapeKind = keyof typeof ShapeKindEnum;

@ObjectType({ description: 'Frames per second, exact.' })
export class Rate {
  @Field(() => Int) num: number;
  @Field(() => Int) den: number;
}
@ObjectType({ description: 'First and last frame, both included; frame 0 is the first of the media.' })
export class FrameRange {
  @Field(() => Int) in: number;
  @Field(() => Int) out: number;
  @Field(() => String, { nullable: true, description: 'In the media’s own rate and start timecode (SMPTE ST 12-1).' })
  timecodeIn: string | null;
  @Field(() => String, { nullable: true }) timecodeOut: string | null;
}
@ObjectType()
export class MediaFailure {
  @Field() code: string;
  @Field({ description: 'ffmpeg’s own words.' }) reason: string;
}
@ObjectType({
  description: 'What was uploaded and its review copies. URLs are signed, short-lived, relative to the api.',
})
export class Media {
  @Field(() => MediaStatusEnum) status: MediaStatus;
  @Field(() => MediaKindEnum) kind: MediaFacts['kind'];
  @Field() mime: string;
  @Field() container: string;
  @Field(() => Int, { nullable: true }) durationFrames: number | null;
  @Field(() => Float, { nullable: true, description: 'For sound.' }) durationSeconds: number | null;
  @Field(() => Rate, { nullable: true }) rate: Rate | null;
  @Field(() => String, { nullable: true }) startTimecode: string | null;
  @Field() dropFrame: boolean;
  @Field(() => Int, { nullable: true }) width: number | null;
  @Field(() => Int, { nullable: true }) height: number | null;
  @Field(() => String, { nullable: true }) videoCodec: string | null;
  @Field(() => Int) audioTracks: number;
  @Field(() => ByteSize) sizeBytes: string;
  @Field({ description: 'SHA-256 of the original.' }) hash: string;
  @Field(() => MediaFailure, { nullable: true }) failure: MediaFailure | null;
  @Field(() => String, { nullable: true }) posterUrl: string | null;
  @Field(() => String, { nullable: true }) hlsUrl: string | null;
  @Field(() => String, { nullable: true }) proxyUrl: string | null;
  @Field(() => String, { nullable: true }) spritesVttUrl: string | null;
  @Field(() => String, { nullable: true }) thumbnailUrl: string | null;
  @Field(() => String, { nullable: true, description: 'Of a still: upright, 8 bits, transparency on white.' })
  viewUrl: string | null;
  @Field(() => String, {
    nullable: true,
    description: 'Of a large still: a Deep Zoom Image (.dzi), as OpenSeadragon opens it.',
  })
  deepZoomUrl: string | null;
  @Field(() => String, { nullable: true, description: 'JSON as BBC’s audiowaveform writes it, version 2.' })
  waveformUrl: string | null;
  @Field(() => String, { nullable: true, description: 'JSON: EBU R 128 of each programme.' })
  loudnessUrl: string | null;
  @Field(() => String, {
    nullable: true,
    description:
      'A proxy for editors, named as the original. For those who may download originals, where the studio makes them.',
  })
  editorialUrl: string | null;
  @Field(() => String, { nullable: true, description: 'Avid Log Exchange by which the proxy is relinked.' })
  editorialAleUrl: string | null;
  @Field(() => String, {
    nullable: true,
    description: 'JSON: of variable rate, the source’s frame for each frame of the editorial proxy.',
  })
  editorialFrameMapUrl: string | null;
  @Field(() => String, { nullable: true, description: 'For those who may download originals.' })
  originalUrl: string | null;
}
@ObjectType({ description: 'A file of a version for one use.' })
export class MediaChoice {
  @Field({ description: 'Signed, short-lived, relative to the api.' }) url: string;
  @Field({ description: 'For instance HLS_MASTER, PROXY, EDITORIAL, ORIGINAL.' }) role: string;
  @Field() mime: string;
  @Field(() => ByteSize) sizeBytes: string;
  @Field(() => Int, { nullable: true, description: 'Of the rendition to begin with, for a playlist.' })
  width: number | null;
  @Field(() => Int, { nullable: true }) height: number | null;
  @Field(() => Float, { nullable: true, description: 'Bits per second.' }) bitrate: number | null;
  @Field({ description: 'Whether the connection carries it without waiting.' }) fits: boolean;
}
@ArgsType()
export class MediaChoiceArgs {
  @Field(() => MediaUseEnum) use: Use;
  @Field(() => Float, { nullable: true, description: 'Bits per second that arrive.' }) bandwidth?: number | null;
  @Field(() => Int, { nullable: true, description: 'Of the place it is shown at, device pixels.' }) width?:
    number | null;
  @Field(() => Int, { nullable: true }) height?: number | null;
}
@ObjectType({ description: 'The versions of a stage; has the stage’s id.' })
export class VersionStack {
  @Field(() => ID) id: string;
}
@ObjectType({ implements: () => Node })
export class Version extends Node {
  @Field(() => Int) number: number;
  @Field(() => VersionStatusEnum) status: VersionStatus;
  @Field() filename: string;
  @Field() note: string;
  @Field() uploadedAt: Date;
  @Field(() => OutcomeEnum) outcome: Outcome;
  @Field(() => Int, { description: 'For `expectedRevision`.' }) revision: number;
  @Field(() => String, { nullable: true }) withdrawnReason: string | null;
  @Field(() => Int) commentCount: number;
  @Field(() => Int) annotationCount: number;
}
export const VersionConnection = ConnectionOf(Version, 'Version');

@ObjectType({
  implements: () => Node,
  description: 'A picture, film or sound beside a version that shows what is meant.',
})
export class Reference extends Node {
  @Field(() => ID) versionId: string;
  @Field() filename: string;
  @Field() note: string;
  @Field() attachedAt: Date;
  @Field({ description: 'True once it was taken away; history keeps it.' }) detached: boolean;
}

@ObjectType({ implements: () => Node })
export class Comment extends Node {
  @Field(() => ID) versionId: string;
  @Field(() => ID, { nullable: true }) parentId: string | null;
  @Field({ description: 'Empty once deleted.' }) text: string;
  @Field() createdAt: Date;
  @Field(() => Date, { nullable: true }) editedAt: Date | null;
  @Field() resolved: boolean;
  @Field() deleted: boolean;
}
export const CommentConnection = ConnectionOf(Comment, 'Comment');

@ObjectType()
export class Point {
  @Field(() => Float) x: number;
  @Field(() => Float) y: number;
}
@ObjectType({ description: 'Coordinates are fractions of the picture, so a shape is the same at any zoom.' })
export class Shape {
  @Field(() => ShapeKindEnum) kind: ShapeKind;
  @Field(() => Float, { nullable: true }) x?: number;
  @Field(() => Float, { nullable: true }) y?: number;
  @Field(() => Float, { nullable: true }) width?: number;
  @Field(() => Float, { nullable: true }) height?: number;
  @Field(() => Point, { nullable: true }) from?: Point;
  @Field(() => Point, { nullable: true }) to?: Point;
  @Field(() => Point, { nullable: true }) at?: Point;
  @Field(() => [Point], { nullable: true }) points?: Point[];
  @Field(() => String, { nullable: true }) text?: string;
  @Field(() => Float, { nullable: true, description: 'Height of the text, a fraction of the picture’s.' })
  size?: number;
}
@ObjectType({ implements: () => Node })
export class Annotation extends Node {
  @Field(() => ID) versionId: string;
  @Field(() => ID) commentId: string;
  @Field(() => Shape) shape: Shape;
  @Field() colour: string;
  @Field(() => Float, { description: 'A fraction of the picture’s height.' }) strokeWidth: number;
  @Field() removed: boolean;
  @Field() createdAt: Date;
}
@ObjectType({ implements: () => Node })
export class Decision extends Node {
  @Field(() => ID) versionId: string;
  @Field(() => RoleEnum) reviewerRole: Role;
  @Field(() => VerdictEnum) verdict: Verdict;
  @Field() text: string;
  @Field({ description: 'False once superseded or withdrawn.' }) standing: boolean;
  @Field() withdrawn: boolean;
  @Field(() => String, { nullable: true }) withdrawnReason: string | null;
  @Field() createdAt: Date;
}
@ObjectType({ description: 'What became of an upload.' })
export class Upload {
  @Field(() => ID) id: string;
  @Field() filename: string;
  @Field(() => UploadStateEnum) state: keyof typeof UploadStateEnum;
  @Field(() => ByteSize, { description: 'Bytes received.' }) offset: string;
  @Field(() => ByteSize) size: string;
  @Field(() => GenericRefusal, { nullable: true }) refusal: GenericRefusal | null;
  @Field() expiresAt: Date;
}

@InputType()
export class FrameRangeInput {
  @Field(() => Int) in: number;
  @Field(() => Int) out: number;
}
@InputType()
export class PointInput {
  @Field(() => Float) x: number;
  @Field(() => Float) y: number;
}
@InputType()
export class ShapeInput {
  @Field(() => ShapeKindEnum) kind: ShapeKind;
  @Field(() => Float, { nullable: true }) x?: number | null;
  @Field(() => Float, { nullable: true }) y?: number | null;
  @Field(() => Float, { nullable: true }) width?: number | null;
  @Field(() => Float, { nullable: true }) height?: number | null;
  @Field(() => PointInput, { nullable: true }) from?: PointInput | null;
  @Field(() => PointInput, { nullable: true }) to?: PointInput | null;
  @Field(() => PointInput, { nullable: true }) at?: PointInput | null;
  @Field(() => [PointInput], { nullable: true }) points?: PointInput[] | null;
  @Field(() => String, { nullable: true }) text?: string | null;
  @Field(() => Float, { nullable: true }) size?: number | null;
}
@InputType()
export class AnnotationInput {
  @Field(() => FrameRangeInput, { nullable: true }) range?: FrameRangeInput | null;
  @Field(() => ShapeInput) shape: ShapeInput;
  @Field({ nullable: true, defaultValue: '#ff3b30', description: '#rrggbb' }) colour: string;
  @Field(() => Float, { nullable: true, defaultValue: 0.004, description: 'A fraction of the picture’s height.' })
  strokeWidth: number;
}
@InputType()
export class AddVersionInput extends CommandInput {
  @Field(() => ID) stageId: string;
  @Field(() => ID, { description: 'Last part of the upload’s URL.' }) uploadId: string;
  @Field({ nullable: true, defaultValue: '' }) note: string;
}
@InputType()
export class RevertToVersionInput extends CommandInput {
  @Field(() => ID) versionId: string;
  @Field({ nullable: true, defaultValue: '' }) note: string;
}
@InputType()
export class WithdrawVersionInput extends CommandInput {
  @Field(() => ID) versionId: string;
  @Field() reason: string;
}
@InputType()
export class RetryTranscodeInput extends CommandInput {
  @Field(() => ID) versionId: string;
  @Field(() => ID, { nullable: true, description: 'For the copies of a reference beside the version.' })
  referenceId?: string | null;
}
@InputType()
export class AttachReferenceInput extends CommandInput {
  @Field(() => ID) versionId: string;
  @Field(() => ID, { description: 'Last part of the upload’s URL.' }) uploadId: string;
  @Field({ nullable: true, defaultValue: '' }) note: string;
}
@InputType()
export class ReferenceRefInput extends CommandInput {
  @Field(() => ID) versionId: string;
  @Field(() => ID) referenceId: string;
}
@InputType()
export class AddCommentInput extends CommandInput {
  @Field(() => ID) versionId: string;
  @Field(() => ID, { nullable: true, description: 'The comment this one answers.' }) parentId?: string | null;
  @Field() text: string;
  @Field(() => FrameRangeInput, { nullable: true }) range?: FrameRangeInput | null;
  @Field(() => [ID], { nullable: true }) mentions?: string[] | null;
  @Field(() => [AnnotationInput], { nullable: true }) annotations?: AnnotationInput[] | null;
}
@InputType()
export class AddAnnotationInput extends AnnotationInput {
  @Field(() => ID, { nullable: true }) commandId?: string | null;
  @Field(() => ID) versionId: string;
  @Field(() => ID, { nullable: true, description: 'Without it a comment is made in the same command.' })
  commentId?: string | null;
  @Field({ nullable: true, defaultValue: '', description: 'Words of the comment that is made.' }) text: string;
}
@InputType()
export class EditCommentInput extends CommandInput {
  @Field(() => ID) versionId: string;
  @Field(() => ID) commentId: string;
  @Field() text: string;
  @Field(() => [ID], { nullable: true }) mentions?: string[] | null;
}
@InputType()
export class CommentRefInput extends CommandInput {
  @Field(() => ID) versionId: string;
  @Field(() => ID) commentId: string;
}
@InputType()
export class AnnotationRefInput extends CommandInput {
  @Field(() => ID) versionId: string;
  @Field(() => ID) annotationId: string;
}
@InputType()
export class RecordDecisionInput extends RevisionedInput {
  @Field(() => ID) versionId: string;
  @Field(() => VerdictEnum) verdict: Verdict;
  @Field({ nullable: true, defaultValue: '', description: 'Required for CHANGES_REQUESTED and REJECTED.' })
  text: string;
}
@InputType()
export class WithdrawDecisionInput extends RevisionedInput {
  @Field(() => ID) versionId: string;
  @Field(() => ID) decisionId: string;
  @Field() reason: string;
}

@ObjectType()
export class VersionPayload extends Payload {
  versionId?: string;
}
@ObjectType()
export class ReferencePayload extends Payload {
  referenceId?: string;
  versionId?: string;
}
@ObjectType()
export class WithdrawVersionPayload extends Payload {
  versionId?: string;
  stackId?: string;
}
@ObjectType()
export class CommentPayload extends Payload {
  commentId?: string;
}
@ObjectType()
export class AnnotationPayload extends Payload {
  annotationId?: string;
  commentId?: string;
}
@ObjectType()
export class DecisionPayload extends Payload {
  decisionId?: string;
  versionId?: string;
}

@ObjectType({ description: 'How far a transcode is. Live only: not history, and some may be lost.' })
export class TranscodeProgress {
  @Field(() => ID) versionId: string;
  @Field(() => Float, { description: 'From 0 to 1.' }) fraction: number;
  @Field(() => Float, { nullable: true }) fps: number | null;
  @Field(() => Int, { nullable: true }) frame: number | null;
  @Field() done: boolean;
}

@ObjectType({ isAbstract: true })
export abstract class ChangeMessage {
  @Field(() => Position, { description: 'Resume with `after` this.' }) position: string;
  @Field({ description: 'Type of the event, as in docs/events.md.' }) eventType: string;
  @Field() at: Date;
  actorUserId: string | null;
  stackId: string | null;
  projectId: string | null;
  deliverableId: string | null;
  stageId: string | null;
  versionId: string | null;
  commentId: string | null;
  annotationId: string | null;
  decisionId: string | null;
  comparisonId: string | null;
}
@ObjectType({ description: 'One event of a stack, with what it touched at that position or newer.' })
export class StackChange extends ChangeMessage {}
@ObjectType({ description: 'One event of a project, with what it touched at that position or newer.' })
export class ProjectChange extends ChangeMessage {}
@ObjectType({ description: 'One event that changes what you have to do.' })
export class WorkChange extends ChangeMessage {}
