// Names of cgroups, and patience with those whose processes are still on their way out.
#include "supervisor/worker_cgroups.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "log/log.h"

namespace refork::supervisor {
namespace {

constexpr std::string_view leaf_word = "worker";
// A process that was killed is mostly gone by the first; one that cannot be interrupted now may take long.
constexpr core::Millis first_interval{20}, longest_interval{1000};
constexpr int close_attempts = 25;

}  // namespace

WorkerCgroups::WorkerCgroups(Loop& loop, std::optional<os::LeafCgroups> leaves, const std::string& instance)
    : leaves_(instance.empty() ? std::nullopt : std::move(leaves)),
      prefix_("refork." + instance + "."),
      timer_(loop.timer([this] { try_again(); })) {}

std::string WorkerCgroups::name_of(const WorkerKey& worker) const {
  return prefix_ + worker_fd(worker.service, worker.slot, worker.worker, leaf_word);
}

std::optional<WorkerKey> WorkerCgroups::key_of(const std::string& leaf) const {
  if (!leaf.starts_with(prefix_)) return std::nullopt;
  return parse_worker_fd(std::string_view(leaf).substr(prefix_.size()), leaf_word);
}

void WorkerCgroups::put(const WorkerKey& worker, pid_t pid) {
  if (!leaves_) return;
  const auto put = leaves_->put(name_of(worker), pid);
  if (put || std::exchange(complained_, true)) return;
  log::warning("no cgroup for a worker: " + put.error().what + "; what leaves its process group outlives it");
}

void WorkerCgroups::end(const WorkerKey& worker) {
  if (!leaves_) return;
  const std::string leaf = name_of(worker);
  if (leaves_->end(leaf)) return void(ending_.erase(leaf));
  ending_.insert(leaf);
  interval_ = first_interval;
  arm();
}

void WorkerCgroups::end_others(const std::function<bool(const WorkerKey&)>& known) {
  if (!leaves_) return;
  for (const auto& leaf : leaves_->list())
    if (const auto key = key_of(leaf); key && !known(*key)) end(*key);
}

void WorkerCgroups::arm() {
  Loop::arm(timer_, core::Clock::now() + interval_);
  interval_ = std::min(2 * interval_, longest_interval);
}

void WorkerCgroups::try_again() {
  std::erase_if(ending_, [this](const std::string& leaf) { return leaves_->end(leaf); });
  if (!ending_.empty()) arm();
}

void WorkerCgroups::close() {
  for (int i = 0; i < close_attempts && !ending_.empty(); ++i) {
    try_again();
    if (!ending_.empty()) ::poll(nullptr, 0, static_cast<int>(first_interval.count()));
  }
}

}  // namespace refork::supervisor
