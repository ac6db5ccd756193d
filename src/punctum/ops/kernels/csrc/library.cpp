// What the library exports: each kernel for this machine's instruction set, its work shared out among threads.
#include <dlfcn.h>
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

// [0, count) in parts, each taken by whoever is free.
struct Work {
    Kernel kernel;
    const void* args;
    int64_t count, part;
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};

    void take_part() {
        try {
            for (int64_t begin; (begin = next.fetch_add(part)) < count;)
                kernel(args, begin, std::min(begin + part, count));
        } catch (const std::bad_alloc&) {
            failed = true;
        }
    }
};

void take_part_of(void* work) { static_cast<Work*>(work)->take_part(); }

// The entry of the OpenMP runtime that PyTorch brought along, if it did: its threads are there already, and wait for
// their next work by spinning, in the way of threads of our own. Null: there is none.
using Team = void (*)(void (*function)(void*), void* data, unsigned threads, unsigned flags);

bool own_threads = false;

Team find_team() {
    static const Team team = reinterpret_cast<Team>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    return own_threads ? nullptr : team;
}

// Threads that live as long as the call.
void run_threads(Work& work, int64_t threads) {
    std::vector<std::thread> others;
    try {
        others.reserve(threads);
        for (int64_t i = 1; i < threads; i++) others.emplace_back(take_part_of, &work);
    } catch (const std::system_error&) {
        // The system has no more threads: those that there are do the work.
    }
    work.take_part();
    for (std::thread& other : others) other.join();
}

// 0: done; 1: no memory.
int64_t share(Kernel kernel, const void* args, int64_t count, int64_t grain, int64_t threads) {
    grain = std::max<int64_t>(1, grain);
    threads = std::max<int64_t>(1, std::min(threads, count / grain));
    // A few parts for each thread, so that none waits long for the last.
    Work work{kernel, args, count, threads == 1 ? count : std::max(grain, count / (4 * threads))};
    if (threads == 1)
        work.take_part();
    else if (const Team team = find_team())
        team(take_part_of, &work, static_cast<unsigned>(threads), 0);
    else
        run_threads(work, threads);
    return work.failed;
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
extern "C" int64_t punctum_version() { return 2; }

// The instruction set in use: 0 the compiler's default, 1 AVX2, 2 AVX-512.
extern "C" int64_t punctum_level() { return level; }

// Use a lower one, as tests do; returns what is in use now.
extern "C" int64_t punctum_use_level(int64_t wanted) {
    level = std::min<int64_t>(std::max<int64_t>(wanted, 0), highest);
    return level;
}

// Leave OpenMP's threads alone and start some of our own, as where there is no OpenMP (tests).
extern "C" void punctum_use_own_threads(int64_t own) { own_threads = own != 0; }

PUNCTUM_EXPORT(exp_of)
PUNCTUM_EXPORT(log_of)
PUNCTUM_EXPORT(exp_share_of)
PUNCTUM_EXPORT(log_share_of)
PUNCTUM_EXPORT(moments_forward)
PUNCTUM_EXPORT(moments_backward)
PUNCTUM_EXPORT(dsnt_forward)
PUNCTUM_EXPORT(dsnt_backward)
PUNCTUM_EXPORT(sampling)
PUNCTUM_EXPORT(mixture)
