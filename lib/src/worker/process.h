#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "recorder/writer.h"

// What belongs to the process rather than to its Worker: Requests, Holds and signal handlers outlive it.
namespace refork::worker {

inline constexpr std::uint32_t never_beats = 0;
inline constexpr std::uint32_t beat_unknown = 0xFFFFFFFF;  // reforkd has not said yet whether it looks

struct Process {
  std::atomic<recorder::Writer*> writer{nullptr};  // nullptr: no Worker, or the child of a fork
  std::atomic<bool> draining{false};
  std::atomic<bool> terminate{false};  // SIGTERM came and was not acted on yet
  std::atomic<int> wake_fd{-1};        // an eventfd, made once and never closed
  std::atomic<std::uint32_t> beat_every_ms{never_beats};
  // Written for each connection, therefore apart from what each request reads.
  alignas(64) std::atomic<std::int64_t> holds{0};
};
extern Process process;

// Makes whoever drives the Worker look again. Async-signal-safe.
void wake() noexcept;

// In the child of a fork() without exec, nothing acts as the worker: true there.
bool in_forked_child() noexcept;
// Makes it so. `channel_fd` is closed in such a child; -1: none.
void watch_forks(int channel_fd) noexcept;

// SIGTERM is caught by a handler, not blocked: a blocked mask would pass on to every program this process
// starts.
void catch_sigterm();
void restore_sigterm() noexcept;

// The deadline's second line: a kernel timer whose handler says Disconnect{deadline} on the channel and calls
// _exit, whatever the application's threads are doing. It goes off this much after the deadline, so that the
// first line, whoever drives the Worker, comes first where it can.
inline constexpr std::chrono::milliseconds second_line_after{250};
int deadline_signal() noexcept;  // a real-time signal of its own, used only while draining
void arm_second_line(std::chrono::steady_clock::time_point deadline, int channel_fd, int exit_code) noexcept;
void disarm_second_line() noexcept;

}  // namespace refork::worker
