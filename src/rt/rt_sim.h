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
// Like new, time and chance included; only its stacks are warm. No fibre may be left.
void rt_sim_rewind(struct rt *rt, uint64_t seed);
// From inside a fibre: makes rt_run() return -ECANCELED at once. Does not return.
NO_RETURN void rt_sim_halt(struct rt *rt);
// The same without anybody's doing: instead of running the `nth` fibre from now (1: the next one). 0: no more.
void rt_sim_halt_after(struct rt *rt, uint64_t nth);
// The wall clock moves in steps of so many nanoseconds (0: freely), so that what happens in one step has
// one time, however long it took. Timers do not care.
void rt_sim_wall_step(struct rt *rt, uint64_t step_ns);
