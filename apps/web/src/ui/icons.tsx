import type { ReactNode } from 'react';

const icon =
  (children: ReactNode, filled = false) =>
  ({ size = 16 }: { size?: number }) => (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill={filled ? 'currentColor' : 'none'}
      stroke={filled ? 'none' : 'currentColor'}
      strokeWidth={1.5}
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      focusable="false"
    >
      {children}
    </svg>
  );

export const PlayIcon = icon(<path d="M4 2.5v11l9.5-5.5z" />, true);
export const PauseIcon = icon(<path d="M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z" />, true);
export const BackFrameIcon = icon(<path d="M10.5 3.5 6 8l4.5 4.5M4.5 3.5v9" />);
export const NextFrameIcon = icon(<path d="M5.5 3.5 10 8l-4.5 4.5M11.5 3.5v9" />);
export const FirstIcon = icon(<path d="M12.5 3.5 8 8l4.5 4.5M8 3.5 3.5 8 8 12.5M2 3.5v9" />);
export const LastIcon = icon(<path d="M3.5 3.5 8 8l-4.5 4.5M8 3.5 12.5 8 8 12.5M14 3.5v9" />);
export const LoopIcon = icon(
  <path d="M3 8V6.5A2.5 2.5 0 0 1 5.5 4H13M11 2l2 2-2 2M13 8v1.5A2.5 2.5 0 0 1 10.5 12H3M5 14l-2-2 2-2" />,
);
export const VolumeIcon = icon(<path d="M2.5 6h2.5L8.5 3v10L5 10H2.5zM11 6a3 3 0 0 1 0 4M12.8 4a5.5 5.5 0 0 1 0 8" />);
export const MutedIcon = icon(<path d="M2.5 6h2.5L8.5 3v10L5 10H2.5zM11 6.2l3.5 3.6M14.5 6.2 11 9.8" />);
export const FullscreenIcon = icon(<path d="M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10" />);
export const TogetherIcon = icon(<path d="M2 3.5h12v9H2zM8 1.5v13M10 6l2 2-2 2M6 6 4 8l2 2" />);
export const SelectIcon = icon(<path d="M3.5 2.5 12.5 7 8.5 8.5 7 12.5z" />);
export const RectangleIcon = icon(<rect x="2.5" y="3.5" width="11" height="9" rx="0.5" />);
export const EllipseIcon = icon(<ellipse cx="8" cy="8" rx="5.5" ry="4.5" />);
export const ArrowIcon = icon(<path d="M3 13 13 3M7 3h6v6" />);
export const FreehandIcon = icon(<path d="M2.5 11.5c2-7 4-8 5-6.5S5 11 7 11.5s3-5 4.5-4.5-.5 4 2 4" />);
export const HighlightIcon = icon(<path d="M9.5 2.5 13.5 6.5 7.5 12.5h-4v-4zM2.5 14.5h11" />);
export const TextIcon = icon(<path d="M3 4.5v-1.5h10v1.5M8 3v10M6 13h4" />);
export const PinIcon = icon(
  <path d="M8 14.5s-4.5-4.5-4.5-8a4.5 4.5 0 0 1 9 0c0 3.5-4.5 8-4.5 8zM8 8a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3z" />,
);
export const UndoIcon = icon(<path d="M5.5 2.5 2.5 5.5l3 3M2.5 5.5h7a4 4 0 0 1 0 8H6" />);
export const RedoIcon = icon(<path d="m10.5 2.5 3 3-3 3M13.5 5.5h-7a4 4 0 0 0 0 8H10" />);
export const LayersIcon = icon(<path d="M8 2 14 5.2 8 8.4 2 5.2zM2 8.2l6 3.2 6-3.2M2 11l6 3.2L14 11" />);
export const CheckIcon = icon(<path d="m3 8.5 3.5 3.5L13 4.5" />);
export const CrossIcon = icon(<path d="m4 4 8 8M12 4l-8 8" />);
export const RetakeIcon = icon(<path d="M13 8a5 5 0 1 1-1.5-3.5M13.5 2v3.5H10" />);
export const LockIcon = icon(<path d="M3.5 7.5h9v6h-9zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5" />);
export const UploadIcon = icon(<path d="M8 10.5v-8M4.5 6 8 2.5 11.5 6M2.5 10.5v3h11v-3" />);
export const ChevronIcon = icon(<path d="m4 6 4 4 4-4" />);
export const MenuIcon = icon(<path d="M2.5 4h11M2.5 8h11M2.5 12h11" />);
export const TrashIcon = icon(<path d="M2.5 4.5h11M6 4.5v-2h4v2M4 4.5l.7 9h6.6l.7-9" />);
export const PencilIcon = icon(<path d="M10.5 3 13 5.5 5.5 13H3v-2.5z" />);
export const ReplyIcon = icon(<path d="M6.5 3.5 2.5 7.5l4 4M2.5 7.5H9a4.5 4.5 0 0 1 4.5 4.5v1" />);
export const FilmIcon = icon(<path d="M2 3h12v10H2zM5 3v10M11 3v10M2 8h12M2 5.5h3M2 10.5h3M11 5.5h3M11 10.5h3" />);
export const WarningIcon = icon(<path d="M8 2 14.5 13.5h-13zM8 6.5v3.5M8 11.9v.1" />);
export const CommentIcon = icon(<path d="M2.5 3h11v8H8l-3.5 3v-3h-2z" />);
export const PauseSmallIcon = icon(<path d="M5.5 3.5v9M10.5 3.5v9" />);
export const LogoMark = ({ size = 20 }: { size?: number }) => (
  <svg width={size} height={size} viewBox="0 0 20 20" fill="none" aria-hidden="true" focusable="false">
    <path
      d="M2 6.5V4A2 2 0 0 1 4 2h2.5M13.5 2H16a2 2 0 0 1 2 2v2.5M18 13.5V16a2 2 0 0 1-2 2h-2.5M6.5 18H4a2 2 0 0 1-2-2v-2.5"
      stroke="currentColor"
      strokeWidth="1.8"
      strokeLinecap="round"
    />
    <path d="M7.5 6v8l6.5-4z" fill="currentColor" />
  </svg>
);
