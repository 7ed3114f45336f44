/** Two players, one transport: the leader is what people drive, the follower keeps to it. */
import type { Pairing } from './pairing.js';
import type { Player } from './player.js';

/** Returns what lets them go. */
export function lead(leader: Player, follower: Player, pairing: Pairing): () => void {
  // Frames of the one go by with frames of the other, also where their rates differ.
  const pace = (leader.rate.num * follower.rate.den) / (leader.rate.den * follower.rate.num);
  const follow = () => {
    const { frame, presented, speed } = leader.state();
    const { frame: other, paired } = pairing(speed > 0 ? (presented ?? frame) : frame);
    // Backwards goes frame by frame, as standing does. Where the follower has no picture it waits.
    follower.follow(other, speed > 0 && paired ? speed * pace : 0);
  };
  let wasReady = follower.state().ready;
  const leave = [
    leader.subscribe(follow),
    follower.subscribe(() => {
      const { ready } = follower.state();
      if (ready !== wasReady) {
        wasReady = ready;
        if (ready) follow();
      }
    }),
  ];
  follow();
  return () => {
    leave.forEach((one) => one());
    if (follower.state().speed !== 0) follower.pause();
  };
}
