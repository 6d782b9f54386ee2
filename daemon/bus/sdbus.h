#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

// Owners for what libsystemd hands out, each as large as a pointer, and the fence between its C callbacks and
// C++.
namespace refork::bus {

template <auto Release>
struct Releaser {
  template <class T>
  void operator()(T* object) const noexcept {
    Release(object);
  }
};
using BusPtr = std::unique_ptr<sd_bus, Releaser<sd_bus_close_unref>>;
using MessagePtr = std::unique_ptr<sd_bus_message, Releaser<sd_bus_message_unref>>;
using SlotPtr = std::unique_ptr<sd_bus_slot, Releaser<sd_bus_slot_unref>>;
using SourcePtr = std::unique_ptr<sd_event_source, Releaser<sd_event_source_disable_unref>>;

// Has a connection's owner hear each message before anything answers it, and sd-bus's own word of the
// connection's begin and end.
struct ConnectionCallbacks {
  sd_bus_message_handler_t message, connected, disconnected;
};
int add_callbacks(sd_bus* bus, const ConnectionCallbacks& callbacks, void* userdata,
                  std::vector<SlotPtr>& slots);

// The D-Bus error name for base::Error::code: org.refork1.Error.NotFound and its siblings.
const char* error_name(int code);

// A string that D-Bus accepts: valid UTF-8 without control characters, or sd-bus would refuse the whole
// message.
std::string wire_text(std::string_view text);
// The same for a line that stands in a signal or a property: bounded as well.
inline constexpr std::size_t max_line = 4096;
std::string wire_line(std::string_view text);

// What was thrown as an error of D-Bus, or -ENOMEM where none is asked for. Its words are cleaned: with
// others there would be no answer at all.
int answer_exception(sd_bus_error* error, const char* what) noexcept;

// Runs the body of a C callback, and answers what it throws.
template <class Body>
int guarded(sd_bus_error* error, Body&& body) noexcept {
  try {
    return body();
  } catch (const std::exception& problem) {
    return answer_exception(error, problem.what());
  } catch (...) {
    return answer_exception(error, "unexpected error");
  }
}

}  // namespace refork::bus
