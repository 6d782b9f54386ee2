// What comes back from the descriptor store, by name. What the descriptors are is known by those who take
// them.
#include "supervisor/handover.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace refork::supervisor {

namespace {

constexpr std::string_view listener_word = "listen";

// Takes what stands after the last dot off `name`.
std::optional<std::string_view> take_part(std::string_view& name) {
  const auto dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const auto part = name.substr(dot + 1);
  name = name.substr(0, dot);
  return part;
}

// Of a socket: the same for whoever holds it.
std::pair<dev_t, ino_t> identity(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? std::pair(status.st_dev, status.st_ino) : std::pair<dev_t, ino_t>();
}

template <class Number>
bool take_number(std::string_view& name, Number& number) {
  const auto part = take_part(name);
  if (!part || part->empty()) return false;
  const char* const end = part->data() + part->size();
  const auto [stop, error] = std::from_chars(part->data(), end, number);
  return error == std::errc{} && stop == end;
}

}  // namespace

std::string worker_fd(std::string_view service, std::uint32_t slot, core::WorkerId worker,
                      std::string_view what) {
  return std::string(service) + "." + std::to_string(slot) + "." + std::to_string(worker) + "." +
         std::string(what);
}

std::string listener_fd(std::string_view service, std::uint64_t number) {
  return std::string(service) + "." + std::string(listener_word) + "." + std::to_string(number);
}

bool is_listener_fd(std::string_view name) {
  std::uint64_t number = 0;
  return take_number(name, number) && take_part(name) == listener_word;
}

std::string notify_fd(std::string_view service) { return std::string(service) + ".notify"; }

std::optional<WorkerKey> parse_worker_fd(std::string_view name, std::string_view what) {
  WorkerKey key;
  if (take_part(name) != what || !take_number(name, key.worker) || !take_number(name, key.slot) ||
      name.empty() || key.worker == 0)
    return std::nullopt;
  key.service = name;
  return key;
}

Handover::Handover(std::vector<os::InheritedFd> fds) {
  for (auto& one : fds) fds_.emplace(std::move(one.name), std::move(one.fd));
}

base::UniqueFd Handover::take(const std::string& name, os::FdStore& store) {
  const auto found = fds_.find(name);
  if (found == fds_.end()) return {};
  base::UniqueFd fd = std::move(found->second);
  fds_.erase(name);
  store.assume(name, fd.get());
  return fd;
}

std::vector<WorkerKey> Handover::workers(std::string_view service, std::string_view what) const {
  std::vector<WorkerKey> all;
  for (const auto& [name, fd] : fds_)
    if (auto key = parse_worker_fd(name, what); key && key->service == service)
      all.push_back(*std::move(key));
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<base::UniqueFd> Handover::take_all(std::string_view what, os::FdStore& store) {
  std::vector<std::string> names;
  for (const auto& [name, fd] : fds_)
    if (parse_worker_fd(name, what)) names.push_back(name);
  std::vector<base::UniqueFd> all;
  for (const auto& name : names)
    if (auto fd = take(name, store)) {
      store.forget(name);
      all.push_back(std::move(fd));
    }
  return all;
}

std::string Handover::best(std::string_view prefix, const std::function<int(int fd)>& suits) const {
  std::string found;
  int best = 0;
  for (const auto& [name, fd] : fds_) {
    if (!name.starts_with(prefix)) continue;
    if (const int how = suits(fd.get()); how > best) best = how, found = name;
  }
  return found;
}

base::UniqueFd Handover::take_given(const std::string& name, const std::function<int(int fd)>& suits) {
  const auto [begin, end] = fds_.equal_range(name);
  auto found = end;
  int best = 0;
  for (auto one = begin; one != end; ++one)
    if (const int how = suits(one->second.get()); how > best) best = how, found = one;
  if (found == end) return {};
  base::UniqueFd fd = std::move(found->second);
  fds_.erase(found);
  return fd;
}

bool Handover::is_given(int fd) const {
  return std::ranges::any_of(fds_, [fd](const auto& one) {
    return !is_listener_fd(one.first) && identity(one.second.get()) == identity(fd);
  });
}

core::WorkerId Handover::highest_worker() const {
  core::WorkerId highest = 0;
  for (const auto& [name, fd] : fds_)
    for (const auto word : {pidfd_word, channel_word, recorder_word})
      if (const auto key = parse_worker_fd(name, word)) highest = std::max(highest, key->worker);
  return highest;
}

std::uint64_t Handover::highest_listener() const {
  std::uint64_t highest = 0;
  for (const auto& [name, fd] : fds_) {
    std::string_view rest = name;
    std::uint64_t number = 0;
    if (is_listener_fd(rest) && take_number(rest, number)) highest = std::max(highest, number);
  }
  return highest;
}

std::vector<std::string> Handover::drop(os::FdStore& store, const std::vector<int>& had) {
  std::vector<std::string> names;
  for (const auto& [name, fd] : fds_) {
    const auto same = [&fd = fd](int other) { return identity(other) == identity(fd.get()); };
    if (std::ranges::none_of(had, same)) names.push_back(name);
    store.assume(name, fd.get());
    store.forget(name);
  }
  fds_.clear();
  return names;
}

}  // namespace refork::supervisor
