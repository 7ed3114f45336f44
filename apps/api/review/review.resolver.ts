import { Inject } from '@nestjs/common';
import { Args, Context, ID, Mutation, Parent, Query, ResolveField, Resolver } from '@nestjs/graphql';
import { addVersion, withdrawVersion } from '#libs/application/index.js';
import {
  deliverableDecider,
  versionDecider,
  versionStackDecider,
  type Permission,
  type VersionState,
} from '#libs/domain/index.js';
import {
  refuse,
  type BlobRef,
  type CommandMeta,
  type MediaFacts,
  type Refusal,
  type Shape as CatalogueShape,
} from '#libs/events/catalogue/index.js';
import { LogUnavailable, type Outcome } from '#libs/events/log/index.js';
import { chooseFile, formatTimecode, parseTimecode, type Candidate, type UploadService } from '#libs/media/index.js';
import {
  AnnotationRow,
  CommentRow,
  DecisionRow,
  ReferenceMediaRow,
  ReferenceRow,
  StageRow,
  UserRow,
  VersionMediaRow,
  VersionRow,
  VersionStackRow,
  type TranscodedMedia,
  type UploadedMedia,
} from '#libs/read-models/index.js';
import { User } from '../identity/types.js';
import { Access, visible } from '../platform/access.js';
import { Commands, refusedPayload, unavailable, type MutationResult } from '../platform/commands.js';
import { AtLeastArgs, PageArgs, pageOf, type Page } from '../platform/connections.js';
import { requirePermission, viewerOf, type RequestContext } from '../platform/context.js';
import type { ReadSession } from '../platform/read-store.js';
import { GenericRefusal } from '../platform/refusals.js';
import { UPLOADS } from '../platform/tokens.js';
import { Stage } from '../production/types.js';
import { MediaUrls, ORIGINAL } from './media-urls.js';
import { toMediaFacts } from './media-facts.js';
import {
  AddAnnotationInput,
  AddCommentInput,
  AddVersionInput,
  Annotation,
  AnnotationInput,
  AnnotationPayload,
  AnnotationRefInput,
  AttachReferenceInput,
  Comment,
  CommentConnection,
  CommentPayload,
  CommentRefInput,
  Decision,
  DecisionPayload,
  EditCommentInput,
  FrameRange,
  Media,
  MediaChoice,
  MediaChoiceArgs,
  RecordDecisionInput,
  Reference,
  ReferencePayload,
  ReferenceRefInput,
  RetryTranscodeInput,
  RevertToVersionInput,
  Upload,
  Version,
  VersionConnection,
  VersionPayload,
  VersionStack,
  WithdrawDecisionInput,
  WithdrawVersionInput,
  WithdrawVersionPayload,
} from './types.js';

type OpenedVersion = NonNullable<VersionState>;

const notFound = (what: string, field: string): Refusal =>
  refuse('NOT_FOUND', `There is no such ${what}.`, { path: [field] });

/** A version that readers may see; an unfinished upload has no number yet. */
export async function versionById(read: ReadSession, id: string | null | undefined): Promise<VersionRow | null> {
  const version = await read.byId(VersionRow, id);
  return version?.number == null ? null : version;
}

/** GraphQL has one input for all shapes; what is not given is left out, and the domain's schema says what is needed. */
const toShape = ({ shape }: AnnotationInput): CatalogueShape =>
  Object.fromEntries(
    Object.entries(shape)
      .filter(([, value]) => value != null)
      .map(([key, value]) => [
        key,
        Array.isArray(value)
          ? value.map((p) => ({ ...p }))
          : value !== null && typeof value === 'object'
            ? { ...value }
            : value,
      ]),
  ) as unknown as CatalogueShape;

const toStyle = ({ colour, strokeWidth }: AnnotationInput) => ({ colour, strokeWidth });

async function rangeOf(
  read: ReadSession,
  row: { rangeIn: number | null; rangeOut: number | null; versionId: string },
): Promise<FrameRange | null> {
  if (row.rangeIn === null || row.rangeOut === null) return null;
  return toFrameRange({ in: row.rangeIn, out: row.rangeOut }, await read.byId(VersionRow, row.versionId));
}

/** Frames with their timecode, in the rate and from the start of the media they are of. */
export function toFrameRange(range: { in: number; out: number }, of: UploadedMedia | null): FrameRange {
  const text = (frame: number): string | null => {
    if (!of || of.rateNum === null || of.rateDen === null) return null;
    const rate = { num: of.rateNum, den: of.rateDen };
    const start = of.startTimecode ? parseTimecode(of.startTimecode, rate) : null;
    try {
      return formatTimecode((start?.ok ? start.value.frame : 0) + frame, rate, { dropFrame: of.dropFrame });
    } catch {
      return null;
    }
  };
  return { in: range.in, out: range.out, timecodeIn: text(range.in), timecodeOut: text(range.out) };
}

/** Where the files of some media are. */
interface FileUrls {
  /** Of the review copy in that role; null while there is none. */
  file(role: string): string | null;
  original(): string | null;
}

/** What was uploaded, with its review copies. */
const toMedia = (of: UploadedMedia, copies: TranscodedMedia | null, url: FileUrls): Media => ({
  status: copies?.status ?? 'PROCESSING',
  kind: of.mediaKind,
  mime: of.mime,
  container: of.container,
  durationFrames: of.durationFrames,
  durationSeconds: of.durationSeconds,
  rate: of.rateNum !== null && of.rateDen !== null ? { num: of.rateNum, den: of.rateDen } : null,
  startTimecode: of.startTimecode,
  dropFrame: of.dropFrame,
  width: of.width,
  height: of.height,
  videoCodec: of.videoCodec,
  audioTracks: of.audioTracks,
  sizeBytes: of.blobSize,
  hash: of.blobHash,
  failure:
    copies?.status === 'FAILED'
      ? { code: copies.failureCode ?? 'TRANSCODE_FAILED', reason: copies.failureReason ?? '' }
      : null,
  posterUrl: url.file('POSTER'),
  hlsUrl: url.file('HLS_MASTER'),
  proxyUrl: url.file('PROXY'),
  spritesVttUrl: url.file('SPRITES_VTT'),
  thumbnailUrl: url.file('THUMBNAIL'),
  viewUrl: url.file('VIEW'),
  deepZoomUrl: url.file('DEEP_ZOOM'),
  waveformUrl: url.file('WAVEFORM'),
  loudnessUrl: url.file('LOUDNESS'),
  editorialUrl: url.file('EDITORIAL'),
  editorialAleUrl: url.file('ALE'),
  editorialFrameMapUrl: url.file('FRAME_MAP'),
  originalUrl: url.original(),
});

@Resolver(() => Stage)
export class StageStackResolver {
  @ResolveField(() => VersionStack)
  stack(@Parent() stage: StageRow, @Context() { read }: RequestContext): Promise<VersionStackRow | null> {
    return read.byId(VersionStackRow, stage.id);
  }
}

@Resolver(() => VersionStack)
export class VersionStackResolver {
  @ResolveField(() => Stage)
  stage(@Parent() stack: VersionStackRow, @Context() { read }: RequestContext): Promise<StageRow | null> {
    return read.byId(StageRow, stack.id);
  }

  @ResolveField(() => Version, { nullable: true })
  current(@Parent() stack: VersionStackRow, @Context() { read }: RequestContext): Promise<VersionRow | null> {
    return versionById(read, stack.currentVersionId);
  }

  @ResolveField(() => VersionConnection, { description: 'Newest first.' })
  async versions(
    @Parent() stack: VersionStackRow,
    @Args() args: PageArgs,
    @Context() { read }: RequestContext,
  ): Promise<Page<VersionRow>> {
    const query = (await read.manager())
      .getRepository(VersionRow)
      .createQueryBuilder('v')
      .where('v.stack_id = :stackId AND v.number IS NOT NULL', { stackId: stack.id });
    return pageOf(query, 'v.number', args, (v) => v.number ?? 0, true);
  }
}

@Resolver(() => Version)
export class VersionResolver {
  constructor(private readonly urls: MediaUrls) {}

  @ResolveField(() => User, { nullable: true })
  uploadedBy(@Parent() version: VersionRow, @Context() { read }: RequestContext): Promise<UserRow | null> {
    return read.byId(UserRow, version.uploadedBy);
  }

  @ResolveField(() => VersionStack)
  stack(@Parent() version: VersionRow, @Context() { read }: RequestContext): Promise<VersionStackRow | null> {
    return read.byId(VersionStackRow, version.stackId);
  }

  @ResolveField(() => Version, { nullable: true, description: 'The version whose media this one repeats.' })
  revertsTo(@Parent() version: VersionRow, @Context() { read }: RequestContext): Promise<VersionRow | null> {
    return versionById(read, version.revertsTo);
  }

  @ResolveField(() => Media)
  async media(@Parent() version: VersionRow, @Context() context: RequestContext): Promise<Media> {
    const [media = null] = await context.read.manyBy(VersionMediaRow, 'versionId', { versionId: 'ASC' }, version.id);
    return toMedia(version, media, {
      file: (role) => this.urls.file(context, version, media, role),
      original: () => this.urls.original(context, version),
    });
  }

  @ResolveField(() => [Reference], {
    description: 'What lies beside it, in order; with `includeDetached` what lay too.',
  })
  async references(
    @Parent() version: VersionRow,
    @Args('includeDetached', { type: () => Boolean, defaultValue: false }) all: boolean,
    @Context() { read }: RequestContext,
  ): Promise<ReferenceRow[]> {
    const references = await read.manyBy(ReferenceRow, 'versionId', { seq: 'ASC' }, version.id);
    return all ? references : references.filter(({ detached }) => !detached);
  }

  @ResolveField(() => MediaChoice, {
    nullable: true,
    description: 'The file that serves a use best on a connection and screen; null until the review copies are there.',
  })
  async mediaFor(
    @Parent() version: VersionRow,
    @Args() { use, ...client }: MediaChoiceArgs,
    @Context() context: RequestContext,
  ): Promise<MediaChoice | null> {
    const [media] = await context.read.manyBy(VersionMediaRow, 'versionId', { versionId: 'ASC' }, version.id);
    if (media?.status !== 'READY') return null;
    const { mime, width, height } = version;
    const original = { name: ORIGINAL, role: 'ORIGINAL', mime, size: Number(version.blobSize), width, height };
    const mayDownload = this.urls.original(context, version) !== null;
    const seconds = version.durationSeconds;
    const files: Candidate[] = [...media.files, ...(mayDownload ? [original] : [])];
    const choice = chooseFile(use, files, { ...client, seconds });
    const url = choice && this.urls.named(context, version, media, choice.file.name);
    if (!choice || !url) return null;
    const shown = choice.rendition ?? choice.file;
    return {
      url,
      role: choice.file.role,
      mime: choice.file.mime,
      sizeBytes: String(shown.size),
      width: shown.width ?? null,
      height: shown.height ?? null,
      bitrate: shown.bitrate ?? null,
      fits: choice.fits,
    };
  }

  @ResolveField(() => CommentConnection, { description: 'In order of creation; answers name their parent.' })
  async comments(
    @Parent() version: VersionRow,
    @Args() args: PageArgs,
    @Context() { read }: RequestContext,
  ): Promise<Page<CommentRow>> {
    const query = (await read.manager())
      .getRepository(CommentRow)
      .createQueryBuilder('c')
      .where('c.version_id = :versionId', { versionId: version.id });
    return pageOf(query, 'c.seq', args, (c) => c.seq);
  }

  @ResolveField(() => [Decision], { description: 'The history with `includeSuperseded`, else what stands.' })
  async decisions(
    @Parent() version: VersionRow,
    @Args('includeSuperseded', { type: () => Boolean, defaultValue: false }) all: boolean,
    @Context() { read }: RequestContext,
  ): Promise<DecisionRow[]> {
    const decisions = await read.manyBy(DecisionRow, 'versionId', { seq: 'ASC' }, version.id);
    return all ? decisions : decisions.filter((d) => d.standing);
  }
}

@Resolver(() => Reference)
export class ReferenceResolver {
  constructor(private readonly urls: MediaUrls) {}

  @ResolveField(() => User, { nullable: true })
  attachedBy(@Parent() reference: ReferenceRow, @Context() { read }: RequestContext): Promise<UserRow | null> {
    return read.byId(UserRow, reference.attachedBy);
  }

  @ResolveField(() => Media, { description: 'Without addresses once it was detached.' })
  async media(@Parent() reference: ReferenceRow, @Context() context: RequestContext): Promise<Media> {
    const { read } = context;
    const [media = null] = await read.manyBy(ReferenceMediaRow, 'referenceId', { referenceId: 'ASC' }, reference.id);
    const version = reference.detached ? null : await read.byId(VersionRow, reference.versionId);
    return toMedia(reference, media, {
      file: (role) => version && this.urls.file(context, version, media, role),
      original: () => version && this.urls.original(context, version, reference.blobHash),
    });
  }
}

@Resolver(() => Comment)
export class CommentResolver {
  @ResolveField(() => User, { nullable: true })
  author(@Parent() comment: CommentRow, @Context() { read }: RequestContext): Promise<UserRow | null> {
    return read.byId(UserRow, comment.authorId);
  }

  @ResolveField(() => FrameRange, { nullable: true })
  range(@Parent() comment: CommentRow, @Context() { read }: RequestContext): Promise<FrameRange | null> {
    return rangeOf(read, comment);
  }

  @ResolveField(() => [User])
  async mentions(@Parent() comment: CommentRow, @Context() { read }: RequestContext): Promise<UserRow[]> {
    const users = await Promise.all(comment.mentions.map((id) => read.byId(UserRow, id)));
    return users.filter((u): u is UserRow => u?.organisationId === comment.organisationId);
  }

  @ResolveField(() => [Annotation])
  annotations(@Parent() comment: CommentRow, @Context() { read }: RequestContext): Promise<AnnotationRow[]> {
    return read.manyBy(AnnotationRow, 'commentId', { seq: 'ASC' }, comment.id);
  }
}

@Resolver(() => Annotation)
export class AnnotationResolver {
  @ResolveField(() => User, { nullable: true, description: 'Whose layer it is on.' })
  author(@Parent() annotation: AnnotationRow, @Context() { read }: RequestContext): Promise<UserRow | null> {
    return read.byId(UserRow, annotation.authorId);
  }

  @ResolveField(() => FrameRange, { nullable: true })
  range(@Parent() annotation: AnnotationRow, @Context() { read }: RequestContext): Promise<FrameRange | null> {
    return rangeOf(read, annotation);
  }
}

@Resolver(() => Decision)
export class DecisionResolver {
  @ResolveField(() => User, { nullable: true })
  reviewer(@Parent() decision: DecisionRow, @Context() { read }: RequestContext): Promise<UserRow | null> {
    return read.byId(UserRow, decision.reviewerId);
  }
}

@Resolver(() => VersionPayload)
export class VersionPayloadResolver {
  @ResolveField(() => Version, { nullable: true })
  version(@Parent() payload: VersionPayload, @Context() { read }: RequestContext) {
    return versionById(read, payload.versionId);
  }
}
@Resolver(() => WithdrawVersionPayload)
export class WithdrawVersionPayloadResolver {
  @ResolveField(() => Version, { nullable: true })
  version(@Parent() payload: WithdrawVersionPayload, @Context() { read }: RequestContext) {
    return versionById(read, payload.versionId);
  }
  @ResolveField(() => VersionStack, { nullable: true })
  stack(@Parent() payload: WithdrawVersionPayload, @Context() { read }: RequestContext) {
    return read.byId(VersionStackRow, payload.stackId);
  }
}
@Resolver(() => ReferencePayload)
export class ReferencePayloadResolver {
  @ResolveField(() => Reference, { nullable: true })
  reference(@Parent() payload: ReferencePayload, @Context() { read }: RequestContext) {
    return read.byId(ReferenceRow, payload.referenceId);
  }
  @ResolveField(() => Version, { nullable: true })
  version(@Parent() payload: ReferencePayload, @Context() { read }: RequestContext) {
    return versionById(read, payload.versionId);
  }
}
@Resolver(() => CommentPayload)
export class CommentPayloadResolver {
  @ResolveField(() => Comment, { nullable: true })
  comment(@Parent() payload: CommentPayload, @Context() { read }: RequestContext) {
    return read.byId(CommentRow, payload.commentId);
  }
}
@Resolver(() => AnnotationPayload)
export class AnnotationPayloadResolver {
  @ResolveField(() => Annotation, { nullable: true })
  annotation(@Parent() payload: AnnotationPayload, @Context() { read }: RequestContext) {
    return read.byId(AnnotationRow, payload.annotationId);
  }
  @ResolveField(() => Comment, { nullable: true })
  comment(@Parent() payload: AnnotationPayload, @Context() { read }: RequestContext) {
    return read.byId(CommentRow, payload.commentId);
  }
}
@Resolver(() => DecisionPayload)
export class DecisionPayloadResolver {
  @ResolveField(() => Decision, { nullable: true })
  decision(@Parent() payload: DecisionPayload, @Context() { read }: RequestContext) {
    return read.byId(DecisionRow, payload.decisionId);
  }
  @ResolveField(() => Version, { nullable: true })
  version(@Parent() payload: DecisionPayload, @Context() { read }: RequestContext) {
    return versionById(read, payload.versionId);
  }
}

@Resolver()
export class ReviewResolver {
  constructor(
    private readonly commands: Commands,
    private readonly access: Access,
    @Inject(UPLOADS) private readonly uploads: UploadService,
  ) {}

  @Query(() => VersionStack, { nullable: true, description: 'By the id of its stage.' })
  async versionStack(
    @Args('id', { type: () => ID }) id: string,
    @Args() { atLeast }: AtLeastArgs,
    @Context() context: RequestContext,
  ) {
    const viewer = requirePermission(context, 'version.read');
    await context.read.require(atLeast);
    return visible(context.read, viewer, await context.read.byId(VersionStackRow, id), (s) => s.projectId);
  }

  @Query(() => Version, { nullable: true })
  async version(
    @Args('id', { type: () => ID }) id: string,
    @Args() { atLeast }: AtLeastArgs,
    @Context() context: RequestContext,
  ) {
    const viewer = requirePermission(context, 'version.read');
    await context.read.require(atLeast);
    return visible(context.read, viewer, await versionById(context.read, id), (v) => v.projectId);
  }

  @Query(() => Upload, { nullable: true, description: 'Your own uploads only.' })
  async upload(@Args('id', { type: () => ID }) id: string, @Context() context: RequestContext): Promise<Upload | null> {
    const viewer = viewerOf(context);
    const record = await this.uploads.registry.get(id);
    if (!record || record.organisationId !== viewer.organisationId || record.userId !== viewer.userId) return null;
    return {
      id: record.id,
      filename: record.filename,
      state: record.state,
      offset: String(record.offset),
      size: String(record.size),
      refusal: record.refusal ? Object.assign(new GenericRefusal(), record.refusal) : null,
      expiresAt: new Date(record.expiresAt),
    };
  }

  @Mutation(() => VersionPayload, { description: 'A finished upload becomes the stack’s current version.' })
  async addVersion(
    @Args('input') input: AddVersionInput,
    @Context() context: RequestContext,
  ): Promise<MutationResult & { versionId?: string }> {
    const meta = this.commands.meta(context, input);
    const { stageId, uploadId } = input;
    const target = `versionStack-${stageId}`;
    const refuseWith = async (refusal: Refusal) =>
      refusedPayload(await this.commands.refused(meta, 'AddVersion', target, refusal));
    const stage = await this.#uploadableStage(meta, context, stageId, 'AddVersion');
    if ('refused' in stage) return refusedPayload(stage);
    const taken = await this.#consume(context, uploadId);
    if ('refused' in taken) return refuseWith(taken);
    return this.#add(meta, context, stage, { ...taken, note: input.note, revertsTo: null });
  }

  @Mutation(() => VersionPayload, { description: 'A new version with the media of an older one.' })
  async revertToVersion(
    @Args('input') input: RevertToVersionInput,
    @Context() context: RequestContext,
  ): Promise<MutationResult & { versionId?: string }> {
    const meta = this.commands.meta(context, input);
    const row = await versionById(context.read, input.versionId);
    const seen = await visible(context.read, viewerOf(context), row, (v) => v.projectId);
    if (!seen || seen.status === 'WITHDRAWN')
      return refusedPayload(
        await this.commands.refused(
          meta,
          'RevertToVersion',
          `version-${input.versionId}`,
          notFound('version', 'versionId'),
        ),
      );
    const stage = await this.#uploadableStage(meta, context, seen.stackId, 'RevertToVersion');
    if ('refused' in stage) return refusedPayload(stage);
    const media: MediaFacts = {
      kind: seen.mediaKind,
      container: seen.container,
      mime: seen.mime,
      durationFrames: seen.durationFrames,
      durationSeconds: seen.durationSeconds,
      rate: seen.rateNum !== null && seen.rateDen !== null ? { num: seen.rateNum, den: seen.rateDen } : null,
      startTimecode: seen.startTimecode,
      dropFrame: seen.dropFrame,
      width: seen.width,
      height: seen.height,
      videoCodec: seen.videoCodec,
      audioTracks: seen.audioTracks,
    };
    return this.#add(meta, context, stage, {
      filename: seen.filename,
      blob: { hash: seen.blobHash, size: Number(seen.blobSize) },
      media,
      note: input.note,
      revertsTo: seen.id,
    });
  }

  @Mutation(() => WithdrawVersionPayload, {
    description: 'Takes back a wrong upload, as long as nobody decided on it; the version before is current again.',
  })
  async withdrawVersion(
    @Args('input') input: WithdrawVersionInput,
    @Context() context: RequestContext,
  ): Promise<MutationResult & { versionId?: string; stackId?: string }> {
    const meta = this.commands.meta(context, input);
    const { versionId, reason } = input;
    const version = await this.#version(meta, context, versionId, 'version.withdraw', 'WithdrawVersion');
    if ('refused' in version) return refusedPayload(version);
    const stage = await this.#uploadableStage(meta, context, version.stackId, 'WithdrawVersion');
    if ('refused' in stage) return refusedPayload(stage);
    if (reason.trim() === '')
      return refusedPayload(
        await this.commands.refused(
          meta,
          'WithdrawVersion',
          `version-${versionId}`,
          refuse('TEXT_REQUIRED', 'Say why it is withdrawn.', { path: ['reason'] }),
        ),
      );
    const result = await this.#log(() =>
      withdrawVersion(this.commands.executor, meta, { stackId: version.stackId, versionId, reason }),
    );
    if (!result.ok) return refusedPayload(result.refusal);
    return { ...(await this.commands.written(context, result.position)), versionId, stackId: version.stackId };
  }

  @Mutation(() => ReferencePayload, {
    description: 'A finished upload lies beside the version and shows what is meant: the look, a plan, another cut.',
  })
  async attachReference(@Args('input') input: AttachReferenceInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    const { versionId, uploadId, note } = input;
    const version = await this.#version(meta, context, versionId, 'reference.attach', 'AttachReference');
    if ('refused' in version) return refusedPayload(version);
    const taken = await this.#consume(context, uploadId);
    if ('refused' in taken)
      return refusedPayload(await this.commands.refused(meta, 'AttachReference', `version-${versionId}`, taken));
    const referenceId = this.commands.newId(meta, 'reference');
    const outcome = await this.commands.send(meta, 'AttachReference', { versionId, referenceId, ...taken, note });
    return { ...(await this.#answer(context, version, outcome)), referenceId, versionId };
  }

  @Mutation(() => ReferencePayload, { description: 'By who attached it, or who manages; history keeps it.' })
  async detachReference(@Args('input') input: ReferenceRefInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    const { versionId, referenceId } = input;
    const version = await this.#version(meta, context, versionId, 'reference.attach', 'DetachReference');
    if ('refused' in version) return refusedPayload(version);
    const outcome = await this.commands.send(meta, 'DetachReference', { versionId, referenceId });
    return { ...(await this.#answer(context, version, outcome)), referenceId, versionId };
  }

  @Mutation(() => VersionPayload, { description: 'Transcodes again after a failure.' })
  async retryTranscode(@Args('input') input: RetryTranscodeInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    const { versionId } = input;
    const referenceId = input.referenceId ?? undefined;
    const version = await this.#version(meta, context, versionId, 'transcode.retry', 'RetryTranscode');
    if ('refused' in version) return refusedPayload(version);
    if (referenceId !== undefined && !version.references.has(referenceId))
      return refusedPayload(
        await this.commands.refused(
          meta,
          'RetryTranscode',
          `version-${versionId}`,
          refuse('REFERENCE_NOT_FOUND', 'The version has no such reference.', { path: ['referenceId'] }),
        ),
      );
    const outcome = await this.commands.send(meta, 'RetryTranscode', { versionId, referenceId });
    return this.commands.answer(context, outcome, { versionId });
  }

  @Mutation(() => CommentPayload)
  async addComment(@Args('input') input: AddCommentInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    const { versionId } = input;
    const version = await this.#version(meta, context, versionId, 'comment.add', 'AddComment');
    if ('refused' in version) return refusedPayload(version);
    const unknown = await this.#unknownMention(meta, versionId, input.mentions, 'AddComment');
    if (unknown) return refusedPayload(unknown);
    const commentId = this.commands.newId(meta, 'comment');
    const outcome = await this.commands.send(meta, 'AddComment', {
      versionId,
      commentId,
      parentId: input.parentId ?? null,
      text: input.text,
      range: input.range ? { ...input.range } : null,
      mentions: input.mentions ?? [],
      annotations: (input.annotations ?? []).map((annotation, i) => ({
        annotationId: this.commands.newId(meta, `annotation ${i}`),
        range: annotation.range ? { ...annotation.range } : input.range ? { ...input.range } : null,
        shape: toShape(annotation),
        style: toStyle(annotation),
      })),
    });
    return { ...(await this.#answer(context, version, outcome)), commentId };
  }

  @Mutation(() => AnnotationPayload, {
    description: 'Draws on the picture, with a comment of its own or on one that is there.',
  })
  async addAnnotation(@Args('input') input: AddAnnotationInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    const { versionId } = input;
    const version = await this.#version(meta, context, versionId, 'annotation.add', 'AddAnnotation');
    if ('refused' in version) return refusedPayload(version);
    const annotationId = this.commands.newId(meta, 'annotation 0');
    const annotation = {
      annotationId,
      range: input.range ? { ...input.range } : null,
      shape: toShape(input),
      style: toStyle(input),
    };
    const commentId = input.commentId ?? this.commands.newId(meta, 'comment');
    const outcome = input.commentId
      ? await this.commands.send(meta, 'AddAnnotation', { versionId, commentId, ...annotation })
      : await this.commands.send(meta, 'AddComment', {
          versionId,
          commentId,
          text: input.text,
          range: annotation.range,
          annotations: [annotation],
        });
    return { ...(await this.#answer(context, version, outcome)), annotationId, commentId };
  }

  @Mutation(() => CommentPayload, { description: 'By its author.' })
  async editComment(@Args('input') input: EditCommentInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    const { versionId, commentId, text } = input;
    const version = await this.#version(meta, context, versionId, 'comment.add', 'EditComment');
    if ('refused' in version) return refusedPayload(version);
    const unknown = await this.#unknownMention(meta, versionId, input.mentions, 'EditComment');
    if (unknown) return refusedPayload(unknown);
    const outcome = await this.commands.send(meta, 'EditComment', {
      versionId,
      commentId,
      text,
      mentions: input.mentions ?? [],
    });
    return { ...(await this.#answer(context, version, outcome)), commentId };
  }

  @Mutation(() => CommentPayload)
  deleteComment(@Args('input') input: CommentRefInput, @Context() context: RequestContext) {
    return this.#onComment(input, context, 'comment.add', 'DeleteComment');
  }

  @Mutation(() => CommentPayload)
  resolveComment(@Args('input') input: CommentRefInput, @Context() context: RequestContext) {
    return this.#onComment(input, context, 'comment.resolve', 'ResolveComment');
  }

  @Mutation(() => CommentPayload)
  reopenComment(@Args('input') input: CommentRefInput, @Context() context: RequestContext) {
    return this.#onComment(input, context, 'comment.resolve', 'ReopenComment');
  }

  @Mutation(() => AnnotationPayload, { description: 'Undo: history keeps the drawing.' })
  removeAnnotation(@Args('input') input: AnnotationRefInput, @Context() context: RequestContext) {
    return this.#onAnnotation(input, context, 'RemoveAnnotation');
  }

  @Mutation(() => AnnotationPayload, { description: 'Redo.' })
  restoreAnnotation(@Args('input') input: AnnotationRefInput, @Context() context: RequestContext) {
    return this.#onAnnotation(input, context, 'RestoreAnnotation');
  }

  @Mutation(() => DecisionPayload, { description: 'Your verdict; a later one of yours supersedes it.' })
  async recordDecision(@Args('input') input: RecordDecisionInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    const { versionId, verdict, text } = input;
    const version = await this.#version(meta, context, versionId, 'decision.record', 'RecordDecision');
    if ('refused' in version) return refusedPayload(version);
    const decisionId = this.commands.newId(meta, 'decision');
    const outcome = await this.commands.send(meta, 'RecordDecision', { versionId, decisionId, verdict, text });
    return { ...(await this.#answer(context, version, outcome)), decisionId, versionId };
  }

  @Mutation(() => DecisionPayload, { description: 'Takes your own standing verdict back; the history shows both.' })
  async withdrawDecision(@Args('input') input: WithdrawDecisionInput, @Context() context: RequestContext) {
    const meta = this.commands.meta(context, input);
    const { versionId, decisionId, reason } = input;
    const version = await this.#version(meta, context, versionId, 'decision.record', 'WithdrawDecision');
    if ('refused' in version) return refusedPayload(version);
    const outcome = await this.commands.send(meta, 'WithdrawDecision', { versionId, decisionId, reason });
    return { ...(await this.#answer(context, version, outcome)), decisionId, versionId };
  }

  async #onComment(
    { versionId, commentId, ...input }: CommentRefInput,
    context: RequestContext,
    permission: Permission,
    type: 'DeleteComment' | 'ResolveComment' | 'ReopenComment',
  ) {
    const meta = this.commands.meta(context, input);
    const version = await this.#version(meta, context, versionId, permission, type);
    if ('refused' in version) return refusedPayload(version);
    const outcome = await this.commands.send(meta, type, { versionId, commentId });
    return { ...(await this.#answer(context, version, outcome)), commentId };
  }

  async #onAnnotation(
    { versionId, annotationId, ...input }: AnnotationRefInput,
    context: RequestContext,
    type: 'RemoveAnnotation' | 'RestoreAnnotation',
  ) {
    const meta = this.commands.meta(context, input);
    const version = await this.#version(meta, context, versionId, 'annotation.add', type);
    if ('refused' in version) return refusedPayload(version);
    const outcome = await this.commands.send(meta, type, { versionId, annotationId });
    const commentId = version.annotations.get(annotationId)?.commentId;
    return { ...(await this.#answer(context, version, outcome)), annotationId, commentId };
  }

  /** A finished upload of the caller's, once: the same command may take it again. */
  async #consume(
    context: RequestContext,
    uploadId: string,
  ): Promise<{ filename: string; blob: BlobRef; media: MediaFacts } | Refusal> {
    const { userId, organisationId } = viewerOf(context);
    const taken = await this.uploads.registry.consume(uploadId, { organisationId, userId });
    if (!taken.ok) return refuse(taken.error.code, taken.error.message, { path: ['uploadId'] });
    const { blob, media, filename } = taken.value;
    if (!blob || !media) return refuse('UPLOAD_NOT_READY', 'The upload is not finished.', { path: ['uploadId'] });
    return { filename, blob, media: toMediaFacts(media) };
  }

  /** People of other organisations do not exist here, and are not named in what is read later. */
  async #unknownMention(
    meta: CommandMeta,
    versionId: string,
    mentions: readonly string[] | null | undefined,
    type: string,
  ): Promise<Refusal | null> {
    for (const [i, userId] of (mentions ?? []).entries())
      if (!(await this.access.isPerson(userId, meta.organisationId)))
        return this.commands.refused(
          meta,
          type,
          `version-${versionId}`,
          refuse('NOT_FOUND', 'There is no such person.', { path: ['mentions', i] }),
        );
    return null;
  }

  /** The version a command is for, once the caller may and sees its project. */
  async #version(
    meta: CommandMeta,
    context: RequestContext,
    versionId: string,
    permission: Permission,
    type: string,
  ): Promise<OpenedVersion | Refusal> {
    const stream = `version-${versionId}`;
    const lacking = await this.commands.lacks(meta, permission, type, stream);
    if (lacking) return lacking;
    // Which project a version belongs to never changes, so the state in memory will do.
    const state = await this.#log(() => this.commands.executor.peek(versionDecider, versionId));
    if (!state || !(await this.access.seesProject(viewerOf(context), state)))
      return this.commands.refused(meta, type, stream, notFound('version', 'versionId'));
    return state;
  }

  /** The stage a version is uploaded to: managers anywhere, artists where they are assigned. */
  async #uploadableStage(
    meta: CommandMeta,
    context: RequestContext,
    stageId: string,
    type: string,
  ): Promise<StageRow | Refusal> {
    const target = `versionStack-${stageId}`;
    const lacking = await this.commands.lacks(meta, 'version.upload', type, target);
    if (lacking) return lacking;
    const row = await visible(
      context.read,
      viewerOf(context),
      await context.read.byId(StageRow, stageId),
      (s) => s.projectId,
    );
    if (!row) return this.commands.refused(meta, type, target, notFound('stage', 'stageId'));
    const { state } = await this.#log(() => this.commands.executor.load(deliverableDecider, row.deliverableId));
    const stage = state?.stages.find((s) => s.stageId === row.id);
    if (meta.actor.role === 'ARTIST' && !stage?.assignees.includes(meta.actor.userId ?? ''))
      return this.commands.refused(
        meta,
        type,
        target,
        refuse('NOT_ASSIGNED', 'Only who is assigned to the stage uploads to it.', { path: ['stageId'] }),
      );
    return row;
  }

  async #add(
    meta: CommandMeta,
    context: RequestContext,
    stage: StageRow,
    upload: { filename: string; blob: BlobRef; media: MediaFacts; note: string; revertsTo: string | null },
  ): Promise<MutationResult & { versionId?: string }> {
    const versionId = this.commands.newId(meta, 'version');
    const result = await this.#log(() =>
      addVersion(this.commands.executor, meta, {
        versionId,
        stackId: stage.id,
        deliverableId: stage.deliverableId,
        projectId: stage.projectId,
        approvalPolicy: stage.approvalPolicy,
        ...upload,
      }),
    );
    if (!result.ok) return refusedPayload(result.refusal);
    return { ...(await this.commands.written(context, result.position)), versionId };
  }

  async #answer(context: RequestContext, version: OpenedVersion, outcome: Outcome<unknown>): Promise<MutationResult> {
    if (outcome.ok) return this.commands.written(context, outcome.position);
    if (outcome.refusal.code !== 'VERSION_LOCKED') return refusedPayload(outcome.refusal);
    // The version that closed this one may be closed itself by now: name the one that is current.
    const { state: stack } = await this.#log(() => this.commands.executor.load(versionStackDecider, version.stackId));
    const current = stack?.versions.find((v) => v.versionId === stack.currentVersionId);
    return refusedPayload({
      ...outcome.refusal,
      message: current ? `This version is read-only: version ${current.number} is current.` : outcome.refusal.message,
      details: {
        ...outcome.refusal.details,
        currentVersionId: current?.versionId ?? null,
        currentVersionNumber: current?.number ?? null,
      },
    });
  }

  async #log<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw error instanceof LogUnavailable ? unavailable() : error;
    }
  }
}
