import { useCallback, useEffect, useState } from 'react';
import {
  LogoutDocument,
  MyWorkChangedDocument,
  ProjectsDocument,
  type ProjectsQuery,
} from '../../generated/graphql.js';
import { ApiFailure } from '../../net/client.js';
import { useConnection, useSession } from '../../net/context.jsx';
import { useLive } from '../../net/live.js';
import { ADMIN_PATH, navigate, stackPath, useRoute } from '../../net/route.js';
import { session } from '../../net/session.js';
import { FilmIcon, LogoMark, MenuIcon, WarningIcon } from '../../ui/icons.jsx';
import { Avatar, Blank, Button, IconButton, Loading } from '../../ui/parts.jsx';
import { ROLES } from '../../ui/words.js';
import { AdminScreen } from '../admin/admin.jsx';
import { RoomScreen } from '../room/room.jsx';
import { ProjectTree } from './project-tree.jsx';

export type Project = ProjectsQuery['projects']['edges'][number]['node'];

/** The frame around the work: projects on the left, the picked stage's screening room beside them. */
export function Workspace() {
  const { api, viewer } = useSession();
  const route = useRoute();
  const [projects, setProjects] = useState<readonly Project[] | null>(null);
  const [from, setFrom] = useState<string | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  const [menu, setMenu] = useState(false);

  const load = useCallback(async () => {
    try {
      const found: Project[] = [];
      let position: string | null = null;
      for (let after: string | null = null; ;) {
        const page: ProjectsQuery = await api.ask(ProjectsDocument, { after });
        position ??= page.position;
        found.push(...page.projects.edges.map(({ node }) => node));
        if (!page.projects.pageInfo.hasNextPage) break;
        after = page.projects.pageInfo.endCursor;
      }
      const live = found.filter(({ archived }) => !archived);
      setProjects(live.sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1)));
      setFrom(position);
      setFailure(null);
    } catch (error) {
      setFailure(error instanceof ApiFailure ? error.message : 'Something went wrong.');
    }
  }, [api]);
  useEffect(() => void load(), [load]);
  // An assignment opens a project to somebody, and its end closes it.
  useLive(
    MyWorkChangedDocument,
    from === null ? null : { after: from },
    () => void load(),
    () => void load(),
  );

  const open = (stackId: string) => {
    setMenu(false);
    navigate(stackPath(stackId));
  };
  const first = useCallback((stackId: string) => {
    if (location.pathname === '/') navigate(stackPath(stackId), { replace: true });
  }, []);

  return (
    <div className={`workspace ${menu ? 'workspace-menu' : ''}`}>
      <header className="top">
        <IconButton label="Projects" className="top-menu" aria-expanded={menu} onClick={() => setMenu(!menu)}>
          <MenuIcon />
        </IconButton>
        <a
          className="brand"
          href="/"
          onClick={(event) => {
            event.preventDefault();
            navigate('/');
          }}
        >
          <LogoMark />
          <span>Picturelock</span>
        </a>
        <div className="top-slot" id="top-slot" />
        <ConnectionState />
        <div className="viewer-chip">
          <Avatar person={viewer} />
          <div className="viewer-name">
            <span>{viewer.name}</span>
            <small>{ROLES[viewer.role]}</small>
          </div>
          {viewer.role === 'ADMINISTRATOR' && (
            <Button tone="ghost" aria-current={route.admin ? 'page' : undefined} onClick={() => navigate(ADMIN_PATH)}>
              Admin
            </Button>
          )}
          <Button
            tone="ghost"
            onClick={() => {
              void api.client.mutation(LogoutDocument, {}).toPromise();
              session.end();
            }}
          >
            Sign out
          </Button>
        </div>
      </header>

      <nav className="side" aria-label="Projects">
        {failure !== null && (
          <Blank
            icon={<WarningIcon size={24} />}
            title="Projects didn’t load"
            action={<Button onClick={() => void load()}>Try again</Button>}
          >
            {failure}
          </Blank>
        )}
        {failure === null && projects === null && <TreeSkeleton />}
        {projects?.map((project, index) => (
          <ProjectTree
            key={project.id}
            project={project}
            openAtFirst={index === 0}
            selected={route.stackId}
            onOpen={open}
            onFirst={index === 0 ? first : undefined}
          />
        ))}
      </nav>

      <main className="main">
        {!route.known ? (
          <Blank
            icon={<FilmIcon size={28} />}
            title="There is nothing at this address"
            action={<Button onClick={() => navigate('/')}>Go to the newest project</Button>}
          />
        ) : route.admin ? (
          <AdminScreen />
        ) : route.stackId !== null ? (
          <RoomScreen key={route.stackId} stackId={route.stackId} asked={route.version} />
        ) : projects === null && failure === null ? (
          <Loading label="Loading projects" />
        ) : projects?.length === 0 ? (
          <Blank icon={<FilmIcon size={28} />} title="Nothing is assigned to you yet">
            A project appears here by itself as soon as a producer assigns you to one of its stages.
          </Blank>
        ) : (
          <Blank icon={<FilmIcon size={28} />} title="Pick a stage">
            Choose a deliverable’s stage on the left to see its versions.
          </Blank>
        )}
      </main>
    </div>
  );
}

function ConnectionState() {
  const state = useConnection();
  const words = { connecting: 'Connecting', live: 'Live', reconnecting: 'Reconnecting' } as const;
  return (
    <div
      className={`connection connection-${state}`}
      role="status"
      aria-label={`Connection: ${words[state]}`}
      title={
        state === 'live'
          ? 'What others do appears here at once.'
          : 'Changes of others will appear as soon as the connection is back. Nothing gets lost.'
      }
    >
      <span className="connection-dot" aria-hidden="true" />
      {words[state]}
    </div>
  );
}

function TreeSkeleton() {
  return (
    <div className="skeletons" aria-hidden="true">
      {[70, 90, 84, 62, 90].map((width, index) => (
        <div key={index} className="skeleton" style={{ width: `${width}%` }} />
      ))}
    </div>
  );
}
