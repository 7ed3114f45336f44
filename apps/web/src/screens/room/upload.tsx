import { type DragEvent, useEffect, useRef, useState } from 'react';
import type { Upload as TusUpload } from 'tus-js-client';
import { AddVersionDocument, UploadStateDocument, type VersionPartsFragment } from '../../generated/graphql.js';
import { ApiFailure } from '../../net/client.js';
import { useSession } from '../../net/context.jsx';
import { session } from '../../net/session.js';
import { FilmIcon, UploadIcon } from '../../ui/icons.jsx';
import { Button, Dialog, Field, Notice, ProgressBar } from '../../ui/parts.jsx';
import { bytes } from '../../ui/words.js';

type Step =
  | { is: 'picking' }
  | { is: 'sending'; sent: number; size: number; perSecond: number }
  | { is: 'paused'; sent: number; size: number }
  | { is: 'checking' }
  | { is: 'failed'; message: string };

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
/** Big enough for speed, small enough that a cut costs little. */
const CHUNK = 16 * 1024 * 1024;

/** Sends a file by tus, resuming after a cut, and makes it the stage's next version. */
export function UploadDialog({
  stageId,
  nextNumber,
  onClose,
  onDone,
}: {
  stageId: string;
  nextNumber: number;
  onClose: () => void;
  onDone: (version: VersionPartsFragment) => void;
}) {
  const { api } = useSession();
  const [file, setFile] = useState<File | null>(null);
  const [note, setNote] = useState('');
  const [step, setStep] = useState<Step>({ is: 'picking' });
  const [over, setOver] = useState(false);
  const upload = useRef<TusUpload | null>(null);
  const picker = useRef<HTMLInputElement>(null);
  // A closed dialog sends no more; what arrived stays for the next try.
  useEffect(() => () => void upload.current?.abort(), []);

  const busy = step.is === 'sending' || step.is === 'checking';

  async function start(chosen: File) {
    const { Upload } = await import('tus-js-client');
    const began = performance.now();
    let first: number | null = null;
    const sending = new Upload(chosen, {
      endpoint: new URL('/uploads', location.href).href,
      chunkSize: CHUNK,
      retryDelays: [0, 500, 1_500, 3_000, 5_000, 10_000, 20_000],
      removeFingerprintOnSuccess: true,
      metadata: { filename: chosen.name, filetype: chosen.type },
      onBeforeRequest: (request) => {
        const token = session.token();
        if (token !== null) request.setHeader('authorization', `Bearer ${token}`);
      },
      onProgress: (sent, size) => {
        first ??= sent;
        const seconds = Math.max(0.2, (performance.now() - began) / 1000);
        setStep({ is: 'sending', sent, size: size ?? chosen.size, perSecond: (sent - first) / seconds });
      },
      onError: (error) => setStep({ is: 'failed', message: reasonOf(error) }),
      onSuccess: () => void finish(sending.url),
    });
    upload.current = sending;
    setStep({ is: 'sending', sent: 0, size: chosen.size, perSecond: 0 });
    const [before] = await sending.findPreviousUploads();
    if (before) sending.resumeFromPreviousUpload(before);
    sending.start();
  }

  async function finish(url: string | null) {
    const uploadId = url === null ? undefined : new URL(url, location.href).pathname.split('/').findLast(Boolean);
    if (uploadId === undefined) return setStep({ is: 'failed', message: 'The upload has no address.' });
    setStep({ is: 'checking' });
    try {
      for (let waited = 0; ; waited += 1) {
        const { upload: record } = await api.ask(UploadStateDocument, { id: uploadId });
        if (record?.refusal) return setStep({ is: 'failed', message: record.refusal.message });
        if (record?.state === 'READY') break;
        // Hashing a very large file takes its time.
        await pause(Math.min(2_000, 150 * (waited + 1)));
      }
      const { addVersion } = await api.send(AddVersionDocument, { stageId, uploadId, note: note.trim() });
      if (addVersion.errors.length > 0 || !addVersion.version) {
        return setStep({ is: 'failed', message: addVersion.errors.map(({ message }) => message).join(' ') });
      }
      onDone(addVersion.version);
    } catch (error) {
      setStep({ is: 'failed', message: error instanceof ApiFailure ? error.message : String(error) });
    }
  }

  const pick = (list: FileList | null) => {
    const chosen = list?.[0];
    if (!chosen || busy) return;
    setFile(chosen);
    setStep({ is: 'picking' });
  };
  function drop(event: DragEvent) {
    event.preventDefault();
    setOver(false);
    pick(event.dataTransfer.files);
  }

  return (
    <Dialog title={`Upload v${nextNumber}`} onClose={onClose}>
      <div className="dialog-body">
        {step.is === 'failed' && <Notice tone="error">{step.message}</Notice>}
        <button
          type="button"
          className={`drop ${over ? 'drop-over' : ''}`}
          disabled={busy}
          onClick={() => picker.current?.click()}
          onDragOver={(event) => {
            event.preventDefault();
            setOver(true);
          }}
          onDragLeave={() => setOver(false)}
          onDrop={drop}
        >
          {file ? <FilmIcon size={22} /> : <UploadIcon size={22} />}
          {file ? (
            <>
              <b>{file.name}</b>
              <small>{bytes(file.size)}</small>
            </>
          ) : (
            <>
              <b>Drop a file here, or click to choose</b>
              <small>MOV, MP4, MXF, MKV, WebM, images and sound. A cut connection goes on where it stopped.</small>
            </>
          )}
        </button>
        <input
          ref={picker}
          type="file"
          className="visually-hidden"
          aria-label="File of the new version"
          tabIndex={-1}
          accept="video/*,audio/*,image/*,.mov,.mxf,.mkv"
          onChange={(event) => pick(event.target.files)}
        />
        <Field label="Note" hint="What is new in this version; everybody on the stage sees it.">
          {(ids) => (
            <textarea
              {...ids}
              rows={2}
              maxLength={5_000}
              value={note}
              disabled={busy}
              onChange={(event) => setNote(event.target.value)}
            />
          )}
        </Field>
        {(step.is === 'sending' || step.is === 'paused') && (
          <div className="upload-progress">
            <ProgressBar fraction={step.size > 0 ? step.sent / step.size : null} label="Uploading" />
            <p>
              {bytes(step.sent)} of {bytes(step.size)}
              {step.is === 'sending' && step.perSecond > 0 && ` · ${bytes(step.perSecond)}/s`}
              {step.is === 'paused' && ' · paused'}
            </p>
          </div>
        )}
        {step.is === 'checking' && (
          <div className="upload-progress">
            <ProgressBar fraction={null} label="Checking the file" />
            <p>Checking the file…</p>
          </div>
        )}
      </div>
      <footer className="row row-end">
        {step.is === 'sending' && (
          <Button
            onClick={() => {
              void upload.current?.abort();
              setStep({ is: 'paused', sent: step.sent, size: step.size });
            }}
          >
            Pause
          </Button>
        )}
        {step.is === 'paused' && (
          <Button
            tone="primary"
            onClick={() => {
              upload.current?.start();
              setStep({ is: 'sending', sent: step.sent, size: step.size, perSecond: 0 });
            }}
          >
            Go on
          </Button>
        )}
        <Button tone="ghost" onClick={onClose}>
          Cancel
        </Button>
        {(step.is === 'picking' || step.is === 'failed') && (
          <Button tone="primary" disabled={file === null} onClick={() => file && void start(file)}>
            {step.is === 'failed' ? 'Try again' : `Upload v${nextNumber}`}
          </Button>
        )}
      </footer>
    </Dialog>
  );
}

/** The server's own words when it refused; else that the line was cut for too long. */
function reasonOf(error: Error): string {
  const body =
    'originalResponse' in error ? (error.originalResponse as { getBody(): string } | null)?.getBody() : undefined;
  try {
    const { message } = JSON.parse(body ?? '') as { message?: unknown };
    if (typeof message === 'string') return message;
  } catch {
    // not JSON
  }
  return body && body.length < 300 ? body : 'The upload was interrupted. Try again: it goes on where it stopped.';
}
