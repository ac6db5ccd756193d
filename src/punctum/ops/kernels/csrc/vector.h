// Vectors of floats with exp and log, in the vector extensions of GCC and clang.
//
// A kernel file includes this and no header of the C++ library, and is compiled once for each instruction set (setup.py), which
// PUNCTUM_LEVEL names: all that it defines lies in a namespace of that name, so that the linker can not put code for
// one machine in the place of code for another. The C++ library's headers have inline code of their own: none here.
//
//     PUNCTUM_KERNEL(name) { ... }      void name(const void* args, int64_t begin, int64_t end)
//
// and PUNCTUM_EXPORT(name) in library.cpp make the C function punctum_name(args, count, grain, threads).
#pragma once

#include <stdint.h>

namespace punctum {

// Memory for a kernel's own use, in whole cache lines. When there is none, `allocate` throws and the call fails.
float* allocate(int64_t floats);
void release(float* memory);

struct Workspace {
    explicit Workspace(int64_t floats) : memory(allocate(floats)) {}
    ~Workspace() { release(memory); }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    float* const memory;
};

}  // namespace punctum

#ifndef PUNCTUM_LEVEL
#define PUNCTUM_LEVEL base
#endif

#define PUNCTUM_KERNEL(name)                                                      \
    namespace punctum {                                                           \
    namespace PUNCTUM_LEVEL {                                                     \
    void name(const void* args, int64_t begin, int64_t end);                      \
    }                                                                             \
    }                                                                             \
    void punctum::PUNCTUM_LEVEL::name(const void* args, int64_t begin, int64_t end)

#if defined(__AVX512F__)
#define PUNCTUM_LANES 16
#elif defined(__AVX2__)
#define PUNCTUM_LANES 8
#else
#define PUNCTUM_LANES 4
#endif

// Wide vectors pass between inlined functions only, so no calling convention is at stake.
#pragma GCC diagnostic ignored "-Wpsabi"
#define PUNCTUM_MEMBER inline __attribute__((always_inline))
#define PUNCTUM_INLINE static PUNCTUM_MEMBER

namespace punctum {
namespace PUNCTUM_LEVEL {

constexpr int LANES = PUNCTUM_LANES;
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef double Doubles __attribute__((vector_size(8 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

PUNCTUM_INLINE Floats splat(float value) { return value - Floats{}; }
PUNCTUM_INLINE Words bits(Floats v) { return (Words)v; }
PUNCTUM_INLINE Floats from_bits(Words v) { return (Floats)v; }
PUNCTUM_INLINE Floats choose(Ints mask, Floats a, Floats b) { return mask ? a : b; }

// NaN of the first argument stays.
PUNCTUM_INLINE Floats at_least(Floats v, float floor) { return choose(v < splat(floor), splat(floor), v); }
PUNCTUM_INLINE Floats at_most(Floats v, float ceiling) { return choose(v > splat(ceiling), splat(ceiling), v); }

// Spelled out: a loop that fills them is run, not folded.
PUNCTUM_INLINE Ints lane_numbers() {
#if PUNCTUM_LANES == 16
    return Ints{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif PUNCTUM_LANES == 8
    return Ints{0, 1, 2, 3, 4, 5, 6, 7};
#else
    return Ints{0, 1, 2, 3};
#endif
}

PUNCTUM_INLINE Doubles widen(Floats v) { return __builtin_convertvector(v, Doubles); }

PUNCTUM_INLINE float largest(Floats v) {
    float parts[LANES];
    __builtin_memcpy(parts, &v, sizeof v);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) parts[i] = parts[i + width] > parts[i] ? parts[i + width] : parts[i];
    return parts[0];
}

PUNCTUM_INLINE double sum(Doubles v) {
    double parts[4] = {};
    for (int i = 0; i < LANES; i++) parts[i % 4] += v[i];
    return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}

// 2^n for -126 <= n <= 127, n a whole number.
PUNCTUM_INLINE Floats power_of_two(Words n) { return from_bits((n + 127u) << 23); }

// e^v to 1 ulp or so: exactly zero below -104, subnormal above it, infinite above 89, NaN where v is.
//
// v = n log 2 + r with |r| <= log(2) / 2, e^r = 1 + r + r^2 q(r); q's coefficients are a minimax fit (error 3e-9).
PUNCTUM_INLINE Floats exp(Floats v) {
    const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, in the low bits
    // What is zero is not computed: products that underflow are slow.
    const Ints zero = v < splat(-104.0f);
    v = at_most(choose(zero, splat(0.0f), v), 89.0f);
    Floats shifted = v * 1.44269504f + shift;
    Words n = bits(shifted) - bits(splat(shift));
    Floats whole = shifted - shift;
    Floats r = v - whole * 0.693359375f + whole * 2.12194440e-4f;
    Floats q = r * 1.3813144e-3f + 8.3694189e-3f;
    q = q * r + 4.16684568e-2f;
    q = q * r + 1.66665148e-1f;
    q = q * r + 4.99999931e-1f;
    Floats value = r * r * q + r + 1.0f;
    // In two steps: 2^n alone may be no normal number.
    Words half = (Words)((Ints)n >> 1);
    return choose(zero, splat(0.0f), value * power_of_two(half) * power_of_two(n - half));
}

// e^v for v up to 88, as the shares of a softmax are: exactly zero below -87, where e^v is no normal number any more.
PUNCTUM_INLINE Floats exp_share(Floats v) {
    const float shift = 12583039.0f;  // 1.5 * 2^23 + 127: the low bits become 2^n's exponent
    Floats shifted = v * 1.44269504f + shift;
    Floats power = from_bits(bits(shifted) << 23);
    Floats whole = shifted - shift;
    Floats r = v - whole * 0.693359375f + whole * 2.12194440e-4f;
    Floats q = r * 1.3813144e-3f + 8.3694189e-3f;
    q = q * r + 4.16684568e-2f;
    q = q * r + 1.66665148e-1f;
    q = q * r + 4.99999931e-1f;
    return choose(v < splat(-87.0f), splat(0.0f), (r * r * q + r + 1.0f) * power);
}

// log of a positive normal number, off by 1e-7 and a rounding: for a sum over shares, which are at most 1.
PUNCTUM_INLINE Floats log_share(Floats v) {
    const uint32_t low = 0x3f3504f3u;  // sqrt(1/2)
    Words n = (Words)((Ints)(bits(v) - low) >> 23);
    Floats f = from_bits(bits(v) - (n << 23)) - 1.0f;
    Floats q = f * -1.02242076e-1f + 1.61411833e-1f;
    q = q * f + -1.71669074e-1f;
    q = q * f + 1.99102378e-1f;
    q = q * f + -2.49805739e-1f;
    q = q * f + 3.33346910e-1f;
    Floats small = f * f * (f * q - 0.5f) + f;
    return __builtin_convertvector((Ints)n, Floats) * 0.693147181f + small;
}

// log of a positive normal number (or NaN or infinity, which become some finite number), to 1 ulp or so.
//
// v = 2^n (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2), log(1 + f) = f - f^2 / 2 + f^3 q(f); minimax fit (error 6e-9).
PUNCTUM_INLINE Floats log_normal(Floats v) {
    const uint32_t low = 0x3f3504f3u;  // sqrt(1/2)
    Words n = (Words)((Ints)(bits(v) - low) >> 23);
    Floats f = from_bits(bits(v) - (n << 23)) - 1.0f;
    Floats whole = __builtin_convertvector((Ints)n, Floats);
    Floats q = f * -7.6344882e-2f + 1.27615737e-1f;
    q = q * f + -1.31601840e-1f;
    q = q * f + 1.42017586e-1f;
    q = q * f + -1.66233572e-1f;
    q = q * f + 2.00012269e-1f;
    q = q * f + -2.50008210e-1f;
    q = q * f + 3.33333317e-1f;
    Floats square = f * f;
    Floats small = square * f * q + whole * -2.12194440e-4f;
    return whole * 0.693359375f + (f + (small - 0.5f * square));
}

// log v for any v: -inf at zero, NaN below.
PUNCTUM_INLINE Floats log(Floats v) {
    const Floats infinity = splat(__builtin_inff()), nothing = splat(__builtin_nanf(""));
    Ints tiny = v < splat(1.17549435e-38f);
    Floats found = log_normal(choose(tiny, v * 8388608.0f, v));
    found = choose(tiny, found - 15.9423852f, found);  // 23 log 2
    found = choose(v == splat(0.0f), -infinity, found);
    found = choose(v == infinity, infinity, found);
    return choose(v >= splat(0.0f), found, nothing);
}

// Elements of a type, as floats. bfloat16 and float16 travel as their bits.
struct BFloat16 {
    uint16_t bits;
};
struct Float16 {
    uint16_t bits;
};

PUNCTUM_INLINE Floats load(const float* from) {
    Floats v;
    __builtin_memcpy(&v, from, sizeof v);
    return v;
}
PUNCTUM_INLINE Words load_words(const uint16_t* from) {
    Halves v;
    __builtin_memcpy(&v, from, sizeof v);
    return __builtin_convertvector(v, Words);
}
PUNCTUM_INLINE Floats load(const BFloat16* from) { return from_bits(load_words(&from->bits) << 16); }
PUNCTUM_INLINE Floats load(const Float16* from) {
    Words h = load_words(&from->bits), magnitude = (h & 0x7fffu) << 13;
    // The exponents' biases differ by 112: a product mends it, subnormal numbers included.
    Words value = bits(from_bits(magnitude) * 0x1p112f);
    Words special = (Words)(magnitude >= 0x0f800000u) & 0x7f800000u;
    return from_bits(value | special | (h & 0x8000u) << 16);
}

PUNCTUM_INLINE void store(float* to, Floats v) { __builtin_memcpy(to, &v, sizeof v); }
PUNCTUM_INLINE void store_words(uint16_t* to, Words v) {
    Halves narrow = __builtin_convertvector(v, Halves);
    __builtin_memcpy(to, &narrow, sizeof narrow);
}
PUNCTUM_INLINE void store(BFloat16* to, Floats v) {
    Words b = bits(v);
    Words rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;  // to nearest, ties to even
    store_words(&to->bits, (v == v) ? rounded : Words{} + 0x7fc0u);
}
PUNCTUM_INLINE void store(Float16* to, Floats v) {
    Words b = bits(v), sign = b & 0x80000000u, magnitude = b ^ sign;
    // Below 2^-14 a half is a multiple of 2^-24: adding 1/2 leaves it, rounded, in the low bits.
    Words subnormal = bits(from_bits(magnitude) + 0.5f) - bits(splat(0.5f));
    Words normal = (magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13;  // 112 off the exponent, ties to even
    Words half = (magnitude < 0x38800000u) ? subnormal : normal;
    half = (magnitude >= 0x47800000u) ? Words{} + 0x7c00u : half;
    half = (magnitude > 0x7f800000u) ? Words{} + 0x7e00u : half;
    store_words(&to->bits, half | sign >> 16);
}

}  // namespace PUNCTUM_LEVEL
}  // namespace punctum
