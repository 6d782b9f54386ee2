// Finds whom an order is for. What is to be done with them is the caller's business.
#include "supervisor/services.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string>

#include "base/words.h"

namespace refork::supervisor {

using base::Error;
using base::Result;

namespace {

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Result<std::uint32_t> slot_of(const core::Service& service, std::string_view text) {
  const auto slot = number(text);
  if (slot && *slot < service.slots().size()) return static_cast<std::uint32_t>(*slot);
  return Error{ENOENT, "no slot \"" + std::string(text) + "\" in " + service.config().name +
                           "; it has 0 to " + std::to_string(service.slots().size() - 1)};
}

Result<ServiceRunner*> Services::find(std::string_view name) const {
  std::vector<std::string> known;
  for (const auto& runner : configured) {
    if (runner->service().config().name == name) return runner.get();
    known.push_back(runner->service().config().name);
  }
  std::ranges::sort(known);
  return Error{ENOENT, base::no_service(name, known)};
}

Result<Services::Target> Services::find_worker(std::string_view target) const {
  if (const auto slash = target.rfind('/'); slash != std::string_view::npos) {
    const auto runner = find(target.substr(0, slash));
    if (!runner) return runner.error();
    const auto slot = slot_of((*runner)->service(), target.substr(slash + 1));
    if (!slot) return slot.error();
    const auto id = (*runner)->in_slot(*slot);
    if (id == 0) return Error{ENOENT, "no worker in " + std::string(target) + " at the moment"};
    return Target{*runner, id};
  }
  const auto id = number(target);
  if (!id)
    return Error{EINVAL, "expected SERVICE/SLOT or a worker's id, found \"" + std::string(target) + "\""};
  for (const auto* runners : {&configured, &former})
    for (const auto& runner : *runners)
      if (runner->service().workers().contains(*id)) return Target{runner.get(), *id};
  return Error{ENOENT, "no worker " + std::to_string(*id)};
}

std::vector<pid_t> Services::pids() const {
  std::vector<pid_t> all;
  each([&all](const ServiceRunner& runner) { runner.list_pids(all); });
  return all;
}

std::vector<int> Services::sockets() const {
  std::vector<int> all;
  each([&all](const ServiceRunner& runner) { runner.list_sockets(all); });
  return all;
}

std::size_t Services::killed_beside(core::WorkerId worker) const {
  std::size_t count = 0;
  each([&](const ServiceRunner& runner) { count += runner.killed_beside(worker); });
  return count;
}

}  // namespace refork::supervisor
