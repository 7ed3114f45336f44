import { useCallback, useEffect, useReducer, useState } from 'react';
import {
  ProjectChangedDocument,
  ProjectDeliverablesDocument,
  type ProjectDeliverablesQuery,
} from '../../generated/graphql.js';
import { useSession } from '../../net/context.jsx';
import { useLive } from '../../net/live.js';
import { ChevronIcon } from '../../ui/icons.jsx';
import { Avatar, Button } from '../../ui/parts.jsx';
import { STATES } from '../../ui/words.js';
import { boardReducer, type Deliverable, EMPTY_BOARD, type Stage, stageToOpen } from './board-state.js';
import type { Project } from './workspace.jsx';

/** One project with its deliverables and their stages as job cards, live while it is unfolded. */
export function ProjectTree({
  project,
  openAtFirst,
  selected,
  onOpen,
  onFirst,
}: {
  project: Project;
  openAtFirst: boolean;
  selected: string | null;
  onOpen: (stackId: string) => void;
  /** Told once which stage to show when nothing else was asked for. */
  onFirst?: (stackId: string) => void;
}) {
  const { api } = useSession();
  const [open, setOpen] = useState(openAtFirst);
  const [board, dispatch] = useReducer(boardReducer, EMPTY_BOARD);
  const [from, setFrom] = useState<string | null>(null);
  const [failed, setFailed] = useState(false);

  const load = useCallback(async () => {
    try {
      const deliverables: Deliverable[] = [];
      let position: string | null = null;
      for (let after: string | null = null; ;) {
        const page: ProjectDeliverablesQuery = await api.ask(ProjectDeliverablesDocument, { id: project.id, after });
        position ??= page.position;
        const connection = page.project?.deliverables;
        deliverables.push(...(connection?.edges.map(({ node }) => node) ?? []));
        if (!connection?.pageInfo.hasNextPage) break;
        after = connection.pageInfo.endCursor;
      }
      dispatch({ type: 'snapshot', position, deliverables });
      setFrom(position);
      setFailed(false);
      const stage = stageToOpen(deliverables);
      if (stage) onFirst?.(stage.id);
    } catch {
      setFailed(true);
    }
  }, [api, project.id, onFirst]);
  useEffect(() => {
    if (open) void load();
  }, [open, load]);
  useLive(
    ProjectChangedDocument,
    open && from !== null ? { projectId: project.id, after: from } : null,
    (data) => dispatch({ type: 'message', message: data.projectChanged }),
    () => void load(),
  );

  return (
    <section className="project">
      <button type="button" className="project-head" aria-expanded={open} onClick={() => setOpen(!open)}>
        <span className={`chevron ${open ? '' : 'chevron-closed'}`}>
          <ChevronIcon size={14} />
        </span>
        <span className="project-name">{project.name}</span>
        <span className="project-code">{project.code}</span>
      </button>
      {open && failed && (
        <p className="side-note">
          Its deliverables didn’t load.{' '}
          <Button tone="ghost" onClick={() => void load()}>
            Try again
          </Button>
        </p>
      )}
      {open && !failed && board.position !== null && board.deliverables.length === 0 && (
        <p className="side-note">No deliverables yet.</p>
      )}
      {open &&
        board.deliverables.map((deliverable) => (
          <div key={deliverable.id} className="deliverable">
            <h3>{deliverable.name}</h3>
            <ul>
              {deliverable.stages.map((stage) => (
                <li key={stage.id}>
                  <JobCard stage={stage} selected={stage.id === selected} onOpen={() => onOpen(stage.id)} />
                </li>
              ))}
            </ul>
          </div>
        ))}
    </section>
  );
}

function JobCard({ stage, selected, onOpen }: { stage: Stage; selected: boolean; onOpen: () => void }) {
  const { word, tint } = STATES[stage.state];
  return (
    <button
      type="button"
      className={`job-card ${selected ? 'job-card-selected' : ''}`}
      aria-current={selected ? 'page' : undefined}
      onClick={onOpen}
    >
      <span className={`job-edge tint-${tint}`} aria-hidden="true" />
      <span className="job-text">
        <span className="job-name">{stage.name}</span>
        <span className={`job-state text-${tint}`} data-state={stage.state}>
          {stage.label || word}
        </span>
      </span>
      <span className="job-people">
        {stage.assignees.slice(0, 3).map((person) => (
          <Avatar key={person.id} person={person} size={22} />
        ))}
        {stage.assignees.length > 3 && <span className="job-more">+{stage.assignees.length - 3}</span>}
        {stage.assignees.length > 0 && (
          <span className="visually-hidden">, assigned to {stage.assignees.map(({ name }) => name).join(', ')}</span>
        )}
      </span>
    </button>
  );
}
