// What the library exports: each kernel for this machine's instruction set, its maps shared out among threads.
//
// Threads live as long as a call. Nothing outlasts it, so a process may fork at any time.
#include <stdint.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "vector.h"

namespace {

using Kernel = void (*)(const void* args, int64_t begin, int64_t end);

int detect() {
#ifdef PUNCTUM_LEVELS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

const int highest = detect();
int level = highest;

// [0, count) in parts of at least `grain`, each to a thread of its own, the last to the caller's. 0: done; 1: no memory.
int64_t share(Kernel kernel, const void* args, int64_t count, int64_t grain, int64_t threads) {
    std::atomic<int64_t> failed{0};
    auto work = [&failed, kernel, args](int64_t begin, int64_t end) {
        try {
            kernel(args, begin, end);
        } catch (const std::bad_alloc&) {
            failed = 1;
        }
    };
    int64_t parts = std::max<int64_t>(1, std::min(threads, count / std::max<int64_t>(1, grain)));
    std::vector<std::thread> others;
    int64_t begin = 0;
    try {
        others.reserve(parts);
        for (int64_t part = 1; part < parts; part++) {
            int64_t end = count * part / parts;
            others.emplace_back(work, begin, end);
            begin = end;
        }
    } catch (const std::system_error&) {
        // The system has no more threads: the caller's does what is left.
    }
    work(begin, count);
    for (std::thread& other : others) other.join();
    return failed;
}

}  // namespace

float* punctum::allocate(int64_t floats) {
    return static_cast<float*>(::operator new(sizeof(float) * floats, std::align_val_t(64)));
}

void punctum::release(float* memory) { ::operator delete(memory, std::align_val_t(64)); }

#ifdef PUNCTUM_LEVELS
#define PUNCTUM_EXPORT(name)                                                                               \
    namespace punctum {                                                                                    \
    namespace base { void name(const void*, int64_t, int64_t); }                                           \
    namespace avx2 { void name(const void*, int64_t, int64_t); }                                           \
    namespace avx512 { void name(const void*, int64_t, int64_t); }                                         \
    }                                                                                                      \
    extern "C" int64_t punctum_##name(const void* args, int64_t count, int64_t grain, int64_t threads) {   \
        const Kernel kernels[] = {punctum::base::name, punctum::avx2::name, punctum::avx512::name};        \
        return share(kernels[level], args, count, grain, threads);                                                \
    }
#else
#define PUNCTUM_EXPORT(name)                                                                               \
    namespace punctum {                                                                                    \
    namespace base { void name(const void*, int64_t, int64_t); }                                           \
    }                                                                                                      \
    extern "C" int64_t punctum_##name(const void* args, int64_t count, int64_t grain, int64_t threads) {   \
        return share(punctum::base::name, args, count, grain, threads);                                    \
    }
#endif

// To be raised with every change of what these functions take (native.py asks for the same number).
extern "C" int64_t punctum_version() { return 1; }

// The instruction set in use: 0 the compiler's default, 1 AVX2, 2 AVX-512.
extern "C" int64_t punctum_level() { return level; }

// Use a lower one, as tests do; returns what is in use now.
extern "C" int64_t punctum_use_level(int64_t wanted) {
    level = std::min<int64_t>(std::max<int64_t>(wanted, 0), highest);
    return level;
}

PUNCTUM_EXPORT(exp_of)
PUNCTUM_EXPORT(log_of)
PUNCTUM_EXPORT(moments_forward)
PUNCTUM_EXPORT(moments_backward)
PUNCTUM_EXPORT(dsnt_forward)
PUNCTUM_EXPORT(dsnt_backward)
PUNCTUM_EXPORT(sampling)
