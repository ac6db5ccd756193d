// The noise of a seed, as punctum/ops/philox.py defines it: Philox4x32-10, LANES cells at a time.
#pragma once

#include "vector.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace punctum {
namespace PUNCTUM_LEVEL {

typedef uint64_t Longs __attribute__((vector_size(4 * LANES)));

// The products of the lower 32 bits of each lane.
PUNCTUM_INLINE Longs product(Longs a, Longs b) {
#if defined(__AVX512F__)
    return (Longs)_mm512_maskz_mul_epu32(-1, (__m512i)a, (__m512i)b);  // GCC warns of the one without a mask
#elif defined(__AVX2__)
    return (Longs)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (Longs)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

// Words of 32 bits in lanes of 64, of whose upper halves nothing is said.
struct State {
    Longs words[4];
};

struct Key {
    uint32_t words[2];
};

PUNCTUM_INLINE State philox(State at, Key key) {
    for (int round = 0; round < 10; round++) {
        Longs first = product(at.words[0], Longs{} + 0xD2511F53u), second = product(at.words[2], Longs{} + 0xCD9E8D57u);
        at = {{(second >> 32) ^ at.words[1] ^ (uint64_t)key.words[0], second,
               (first >> 32) ^ at.words[3] ^ (uint64_t)key.words[1], first}};
        key = {{key.words[0] + 0x9E3779B9u, key.words[1] + 0xBB67AE85u}};
    }
    return at;
}

// Where noise is wanted: four samples of one map, in one stream.
struct Source {
    Key key;
    uint32_t group, map;
};

struct Uniforms {
    Floats of[4];  // by sample
};

// U of the cells from `cell` on.
PUNCTUM_INLINE Uniforms uniforms(const Source& source, uint32_t cell, uint32_t stream) {
    Words lanes = (Words)lane_numbers() + cell;
    // Cells of even and of odd number are drawn apart, and meet again as the halves of lanes of 64 bits.
    Longs even = (Longs)lanes & 0xffffffffu, odd = (Longs)lanes >> 32, nothing = {};
    Longs group = nothing + source.group, map = nothing + source.map, other = nothing + stream;
    State a = philox({{even, group, map, other}}, source.key), b = philox({{odd, group, map, other}}, source.key);
    Uniforms u;
    for (int k = 0; k < 4; k++) {
        Words drawn = (Words)((a.words[k] & 0xffffffffu) | b.words[k] << 32);
        // 1 + n 2^-23 by its bits; less 1 - 2^-24 it is (n + 1/2) 2^-23, exactly.
        u.of[k] = from_bits(drawn >> 9 | 0x3f800000u) - 0x1.fffffep-1f;
    }
    return u;
}

PUNCTUM_INLINE Floats square_root(Floats v) {
    Floats root;
    for (int lane = 0; lane < LANES; lane++) root[lane] = __builtin_sqrtf(v[lane]);
    return root;
}

// cos(2 pi u) for 0 <= u <= 1: -sin of what lies within a quarter turn, by its series (error 1e-9).
PUNCTUM_INLINE Floats cosine_of_turns(Floats u) {
    Floats t = u - 0.5f;
    t = 6.28318531f * (0.25f - choose(t < splat(0.0f), -t, t));
    Floats square = t * t;
    Floats q = square * 1.60590438e-10f - 2.50521084e-8f;
    q = q * square + 2.75573192e-6f;
    q = q * square - 1.98412698e-4f;
    q = q * square + 8.33333333e-3f;
    q = q * square - 1.66666667e-1f;
    return -(t + t * square * q);
}

enum Basis : int32_t { UNIFORM, TRIANGULAR, GAUSSIAN };

// Offsets from the cells' centres, in cells.
PUNCTUM_INLINE Uniforms offsets(const Source& source, int64_t cell, int axis, int32_t basis) {
    Uniforms one = uniforms(source, (uint32_t)cell, 1 + axis);
    Uniforms two = basis == UNIFORM ? one : uniforms(source, (uint32_t)cell, 4 + axis);
    Uniforms found;
    for (int k = 0; k < 4; k++) {
        if (basis == UNIFORM) found.of[k] = one.of[k] - 0.5f;
        if (basis == TRIANGULAR) found.of[k] = one.of[k] + two.of[k] - 1.0f;
        if (basis == GAUSSIAN)
            found.of[k] = square_root(-2.0f * log_normal(one.of[k])) * cosine_of_turns(two.of[k]);
    }
    return found;
}

}  // namespace PUNCTUM_LEVEL
}  // namespace punctum
