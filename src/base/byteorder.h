// SPDX-License-Identifier: MIT
// byteorder.h - integers of fixed byte order, as types of their own so that none is read unswapped.
//
// Disks of ext4 are little-endian, its journal is big-endian. The structs hold the raw bytes in
// memory order and have no alignment, so on-disk structs need no packing attribute for them.
#pragma once

#include "base/types.h"
#include <endian.h>

struct le16 { uint16_t raw; } PACKED;
struct le32 { uint32_t raw; } PACKED;
struct le64 { uint64_t raw; } PACKED;
struct be16 { uint16_t raw; } PACKED;
struct be32 { uint32_t raw; } PACKED;
struct be64 { uint64_t raw; } PACKED;

static inline uint16_t le16(struct le16 v) { return le16toh(v.raw); }
static inline uint32_t le32(struct le32 v) { return le32toh(v.raw); }
static inline uint64_t le64(struct le64 v) { return le64toh(v.raw); }
static inline uint16_t be16(struct be16 v) { return be16toh(v.raw); }
static inline uint32_t be32(struct be32 v) { return be32toh(v.raw); }
static inline uint64_t be64(struct be64 v) { return be64toh(v.raw); }

static inline struct le16 to_le16(uint16_t v) { return (struct le16){htole16(v)}; }
static inline struct le32 to_le32(uint32_t v) { return (struct le32){htole32(v)}; }
static inline struct le64 to_le64(uint64_t v) { return (struct le64){htole64(v)}; }
static inline struct be16 to_be16(uint16_t v) { return (struct be16){htobe16(v)}; }
static inline struct be32 to_be32(uint32_t v) { return (struct be32){htobe32(v)}; }
static inline struct be64 to_be64(uint64_t v) { return (struct be64){htobe64(v)}; }
