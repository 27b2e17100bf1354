// SPDX-License-Identifier: MIT
// link.h - what guardian and server tell each other: one message a packet (SOCK_SEQPACKET).
//
//     server                         guardian
//       │ ── LINK_READY version ─────▶ │   the volume is usable; nothing is mounted yet
//       │ ◀───────────────── LINK_GO ─ │   /dev/fuse is mounted (a successor knows that from the legacy)
//       │ ── LINK_SERVING ───────────▶ │   a successor: with struct link_serving behind it
//       │ ◀─ LINK_STATUS, ask ─────── │   any number of times; answered with the same `ask`
//       │ ◀─ LINK_INJECT, ask ─────── │   a fault on purpose; answered the same way
//       │ ◀─────────── LINK_HAND_OVER ─│   the upgrade's: it finishes what it has begun, and exits
//       │ ── LINK_ENDED rc, text ────▶ │   unmounted (rc 0: and the volume is clean), or could
//       └ exit                             not start: do not start another one
//
//     standby                        guardian
//       │ ── LINK_STANDBY_READY ─────▶ │   version behind it; from here on it sleeps (deathwatch.h)
//       ┊         the owner dies       ┊
//       │ ── LINK_TAKING ────────────▶ │   it owns the mount and is the server now
//       │ ── LINK_SERVING ───────────▶ │
#pragma once

#include "base/types.h"

#define LINK_TEXT_MAX (60u << 10)

enum link_kind {
    LINK_READY = 1, LINK_GO, LINK_SERVING, LINK_STATUS, LINK_ENDED,
    LINK_STOP,                      // to the server: nothing will be mounted after all
    LINK_FAILED,                    // from the server: could not take over; rc, text
    LINK_STANDBY_READY, LINK_TAKING, LINK_HAND_OVER,
    LINK_INJECT,                    // to the server: struct control_inject behind it; answered with `ask`, rc, text
};

#define LINK_READ_ONLY 1            // it must not be written, whatever the options say

struct link_head {
    uint32_t kind;
    uint32_t ask;                   // LINK_STATUS: which question; LINK_GO: KiB that the kernel may hold dirty
    int32_t rc;                     // 0 or a negative errno; of LINK_READY: 0 or LINK_READ_ONLY; of LINK_TAKING: enum legacy_death
    uint32_t text_len;              // bytes that follow
};

struct link_serving {
    uint64_t pause_ns;              // since it woke up, or was started
};

// --- the relay (relay.h) ------------------------------------------------------------------------

#define RELAY_BYTES_MAX 4000

// One packet each way (SOCK_SEQPACKET). Answers to questions of a dead server are told by the tag.
// `bytes` are messages one behind the other; each begins with its length (32 bits).
struct relay_ask {
    uint64_t tag;                   // 0: no answer is wanted
    uint32_t len;                   // of the bytes, where the packet ends. 0: call syncfs(2) for the mount
    uint8_t bytes[RELAY_BYTES_MAX]; // otherwise what to write to /dev/fuse
};
struct relay_answer {
    uint64_t tag;
    int32_t rc;                     // 0 or a negative errno; of several, ENOENT only if there is no other
    uint32_t unused;
};
