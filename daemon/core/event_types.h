#pragma once

#include <array>
#include <cstddef>
#include <string_view>

// What can happen, each with the MESSAGE_ID of its journal entries. An event of a type that is not in the
// table does not compile; units/refork.catalog has a text for each, and reforkctl(1) a line.
namespace refork::core {

struct EventKind {
  std::string_view name;
  std::string_view message_id;  // 128 bits in hexadecimal digits, made at random; never changes its meaning
};

inline constexpr std::array event_kinds = {
    EventKind{"operator", "b2a85e480e314235bd7ed95c32207e18"},
    EventKind{"worker-started", "81a4068ecf0346e5a18c0c6943d41a14"},
    EventKind{"worker-ready", "25f8c26b2a914bdc879e0d115007c98e"},
    EventKind{"worker-draining", "abfd6695dde3404bbe78b4a633889b86"},
    EventKind{"worker-killed", "3fa1acda8dca442ca89a7f89096caf18"},
    EventKind{"worker-ended", "f5f5a36589104ddf8a4c12b98e930994"},
    EventKind{"worker-tainted", "883cc0daf9dc41fe8167d2738f185e49"},
    EventKind{"worker-backoff", "1220adc3364e4c3ca686b02f3aa34f0e"},
    EventKind{"worker-replaced", "fb40a8e308c14b8fb7f0fa03fd7fef30"},
    EventKind{"worker-crashed", "676f4e6de8d845138bd8d532b95ac607"},
    EventKind{"worker-gone", "954addd1a7a24c14a5096815a7c291b5"},
    EventKind{"worker-hung", "7fbaf10da3a4465c8434272192985c39"},
    EventKind{"worker-starved", "044bd71c09c24bb29bd35589b083b395"},
    EventKind{"worker-recycled", "99e633e2f0f4499a856b695d28d7f356"},
    EventKind{"worker-adopted", "36a730754cde4bb1a0a1c2442465a5df"},
    EventKind{"request-timeout", "baec6ca52a814506a0e8d7520d898634"},
    EventKind{"core-dumps", "8d11a92a26984f3ebcd10c9f806a71a1"},
    EventKind{"failure", "f509bdac2e6843d0a5e55ff545268723"},
    EventKind{"service-state", "e00ef1a642034731aa89418226e02c44"},
    EventKind{"listener-reopened", "7abe281c67fc45f6a61b1298e0345f72"},
    EventKind{"store-state", "5ba7e187434b458ebf0e739567b5e9c3"},
    EventKind{"protocol", "d6431520c7504480a417c8bd6fdc16ae"},
    EventKind{"reforkd-started", "7e71a1676ad740f99f35f8154fb4ae14"},
    EventKind{"keeper-started", "0b193015ff46402eadf07b05ad4b2153"},
};

// One of them. There is none without a type: it is made from its name, when the program is compiled.
class EventType {
 public:
  consteval EventType(const char* name) : index_(find(name)) {}  // NOLINT: meant to be implicit

  constexpr std::string_view name() const { return event_kinds[index_].name; }
  constexpr std::string_view message_id() const { return event_kinds[index_].message_id; }
  friend constexpr bool operator==(EventType, EventType) = default;

 private:
  static consteval std::size_t find(std::string_view name) {
    std::size_t i = 0;
    while (event_kinds.at(i).name != name) ++i;  // beyond the end it is no constant expression any more
    return i;
  }

  std::size_t index_;
};

}  // namespace refork::core
