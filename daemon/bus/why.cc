// The answer of Why as a D-Bus message. What came from a worker goes only to those who may read failures.
#include "bus/why.h"

#include <cstdint>
#include <optional>

namespace refork::bus {

namespace {

std::int32_t slot_number(const std::optional<std::uint32_t>& slot) {
  return slot ? static_cast<std::int32_t>(*slot) : -1;
}

std::int64_t number(const std::optional<std::uint64_t>& value) {
  return value ? static_cast<std::int64_t>(*value) : -1;
}

int append_one(sd_bus_message* reply, const core::Condition& condition) {
  return sd_bus_message_append(reply, condition_signature, slot_number(condition.slot), condition.worker,
                               condition.kind.c_str(), wire_line(condition.text).c_str(), condition.until_ms);
}

int append_one(sd_bus_message* reply, const core::HistoryEntry& entry, bool with_texts) {
  return sd_bus_message_append(
      reply, entry_signature, entry.time_ms, slot_number(entry.slot), entry.worker, entry.pid,
      wire_line(entry.what).c_str(), with_texts ? wire_line(entry.text).c_str() : "",
      with_texts ? wire_line(entry.detail).c_str() : "", wire_line(entry.failure).c_str(), entry.instead_of,
      wire_line(entry.by).c_str(), entry.waited_ms, wire_line(entry.waited_for).c_str(),
      number(entry.duration_ms), number(entry.completed), number(entry.cut), entry.count);
}

template <class Items, class Append>
int append_all(sd_bus_message* reply, const char* signature, const Items& items, Append&& append) {
  int r = sd_bus_message_open_container(reply, 'a', signature);
  for (auto item = items.begin(); r >= 0 && item != items.end(); ++item) r = append(*item);
  return r < 0 ? r : sd_bus_message_close_container(reply);
}

}  // namespace

int answer_why(sd_bus_message* call, const core::Why& why, bool with_texts) {
  sd_bus_message* made = nullptr;
  int r = sd_bus_message_new_method_return(call, &made);
  if (r < 0) return r;
  const MessagePtr reply(made);
  r = append_all(made, condition_signature, why.conditions,
                 [&](const core::Condition& condition) { return append_one(made, condition); });
  if (r < 0) return r;
  r = append_all(made, entry_signature, why.history,
                 [&](const core::HistoryEntry& entry) { return append_one(made, entry, with_texts); });
  return r < 0 ? r : sd_bus_send(nullptr, made, nullptr);
}

}  // namespace refork::bus
