// Deferred answers. What cannot be delivered any more (the peer has gone) is dropped silently: nobody is left
// to be told.
#include "bus/reply.h"

#include <cerrno>
#include <utility>

namespace refork::bus {

PendingReply::PendingReply(sd_bus_message* call, std::shared_ptr<std::size_t> waiting)
    : call_(sd_bus_message_ref(call)), waiting_(std::move(waiting)) {
  ++*waiting_;
}

PendingReply::~PendingReply() {
  if (!answered()) send_error({ECANCELED, "reforkd ended before this was done"});
  --*waiting_;
}

template <class Fill>
void PendingReply::send(Fill&& fill) noexcept {
  const MessagePtr call = std::move(call_);
  if (!call) return;
  const int r = guarded(nullptr, [&] {
    sd_bus_message* made = nullptr;
    if (const int failed = sd_bus_message_new_method_return(call.get(), &made); failed < 0) return failed;
    const MessagePtr reply(made);
    if (const int failed = fill(made); failed < 0) return failed;
    return sd_bus_send(nullptr, made, nullptr);
  });
  if (r < 0) sd_bus_reply_method_errnof(call.get(), -r, "The answer could not be sent");
}

void PendingReply::send_error(const base::Error& error) noexcept {
  const MessagePtr call = std::move(call_);
  if (!call) return;
  guarded(nullptr, [&] {
    return sd_bus_reply_method_errorf(call.get(), error_name(error.code), "%s",
                                      wire_line(error.what).c_str());
  });
}

void PendingReply::answer(const base::Result<void>& result) noexcept {
  if (!result) return send_error(result.error());
  send([](sd_bus_message*) { return 0; });
}

void PendingReply::answer(const base::Result<std::string>& result) noexcept {
  if (!result) return send_error(result.error());
  send([&](sd_bus_message* reply) { return sd_bus_message_append(reply, "s", wire_text(*result).c_str()); });
}

void PendingReply::answer(const base::Result<std::uint64_t>& result) noexcept {
  if (!result) return send_error(result.error());
  send([&](sd_bus_message* reply) { return sd_bus_message_append(reply, "t", *result); });
}

void PendingReply::answer(const base::Result<std::vector<std::string>>& result) noexcept {
  if (!result) return send_error(result.error());
  send([&](sd_bus_message* reply) {
    int r = sd_bus_message_open_container(reply, 'a', "s");
    for (std::size_t i = 0; r >= 0 && i < result->size(); ++i)
      r = sd_bus_message_append(reply, "s", wire_text((*result)[i]).c_str());
    return r < 0 ? r : sd_bus_message_close_container(reply);
  });
}

}  // namespace refork::bus
