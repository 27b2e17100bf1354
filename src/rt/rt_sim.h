// SPDX-License-Identifier: MIT
// rt_sim.h - the simulator's worker: virtual time, one seed.
//
// Ready fibres run in an order drawn from the seed; when none is ready, time jumps to the next
// timer. Nothing here reads a clock, a file or the address of anything, so a seed replays exactly.
#pragma once

#include "rt/rt.h"

// rt_run() of this worker returns 0 when no fibre is left, asked to stop or not (nothing could
// ever happen again); -ECANCELED after rt_sim_halt(); and -EDEADLK, with the fibres' names in the
// log, when fibres wait and neither a ready fibre nor a timer could ever wake them.
struct rt *rt_sim_create(uint64_t seed);
// The power goes: every fibre is abandoned where it stands (its stack is taken back, nothing of
// it runs again). Whatever the fibres held is garbage to be dropped with their arena. Call from
// outside a fibre, after rt_run() returned -ECANCELED or -EDEADLK; the worker is then like new,
// except that its time goes on.
void rt_sim_abandon(struct rt *rt);
// From inside a fibre: makes rt_run() return -ECANCELED at once. Does not return.
NO_RETURN void rt_sim_halt(struct rt *rt);
