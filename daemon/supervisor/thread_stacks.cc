// What the threads of a worker are doing: in their own words, by way of the flight recorder, otherwise as the
// kernel sees them. Naming the frames is refork-symbolizer's business.
#include "supervisor/thread_stacks.h"

#include <unistd.h>

#include <algorithm>
#include <climits>

#include "os/task.h"

namespace refork::supervisor {
namespace {

void add_build_id(BuildIds& ids, const recorder::Address& address) {
  if (!address.build_id.empty() &&
      std::ranges::find(ids, address.module, &BuildIds::value_type::first) == ids.end())
    ids.emplace_back(address.module, address.build_id);
}

// "futex_wait_queue (sleeping)"
proto::Frame kernel_frame(const os::ThreadState& thread) {
  proto::Frame frame;
  const std::string state(os::say_thread_state(thread.state));
  frame.function = thread.place.empty() ? state : thread.place + " (" + state + ")";
  return frame;
}

// Its name in the kernel is the process's, where the thread was given none.
proto::ThreadStack kernel_stack(const os::ThreadState& thread) {
  return {static_cast<std::uint32_t>(thread.tid), thread.name, "", {kernel_frame(thread)}};
}

}  // namespace

std::string executable_of(pid_t pid) {
  char path[PATH_MAX];
  const auto length = ::readlink(("/proc/" + std::to_string(pid) + "/exe").c_str(), path, sizeof path);
  return std::string(path, length > 0 ? static_cast<std::size_t>(length) : 0);
}

std::vector<proto::Frame> frames_of(const std::vector<recorder::Address>& stack,
                                    const std::string& executable, BuildIds& build_ids) {
  std::vector<proto::Frame> frames;
  for (const auto& address : stack) {
    proto::Frame frame;
    frame.module = address.module;
    frame.offset = address.offset;
    frame.in_app = !executable.empty() && address.module == executable;
    frames.push_back(std::move(frame));
    add_build_id(build_ids, address);
  }
  return frames;
}

StackDemand::StackDemand(const recorder::Reader* reader, pid_t pid, pid_t thread, core::Time now)
    : pid_(pid), thread_(thread), deadline_(now) {
  if (!reader || !reader->answers_stacks() || !reader->want_stacks()) return;
  const auto threads = thread == 0 ? os::list_threads(pid) : std::vector<pid_t>{thread};
  for (const pid_t tid : threads) os::signal_thread(pid, tid, recorder::stacks_signal());
  reader_ = reader;
  asked_ = std::min<std::size_t>(threads.size(), recorder::thread_count);
  deadline_ = now + stacks_patience;
}

bool StackDemand::over(core::Time now) const {
  return now >= deadline_ || reader_->thread_stacks().size() >= asked_;
}

std::vector<proto::ThreadStack> StackDemand::result(BuildIds& build_ids) const {
  std::vector<proto::ThreadStack> threads;
  const std::string executable = executable_of(pid_);
  if (reader_)
    for (auto& told : reader_->thread_stacks())
      threads.push_back(
          {told.tid, told.name, told.request_label, frames_of(told.frames, executable, build_ids)});
  for (const auto& seen : os::describe_threads(pid_)) {
    const bool asked = thread_ == 0 || seen.tid == thread_;
    const auto known =
        std::ranges::find(threads, static_cast<std::uint32_t>(seen.tid), &proto::ThreadStack::tid);
    if (asked && known == threads.end()) threads.push_back(kernel_stack(seen));
  }
  std::stable_partition(threads.begin(), threads.end(),
                        [](const auto& thread) { return !thread.request.empty(); });
  return threads;
}

std::uint64_t StackDemand::request_of(std::uint32_t thread) const {
  if (!reader_) return 0;
  const auto told = reader_->thread_stacks();
  const auto found = std::ranges::find(told, thread, &recorder::ThreadStack::tid);
  return found == told.end() ? 0 : found->request_id;
}

}  // namespace refork::supervisor
