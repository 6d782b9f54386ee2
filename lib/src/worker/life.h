#pragma once

#include <array>
#include <string_view>

#include "base/enum_names.h"

namespace refork::worker {

// Where this process is in its life, as it sees itself.
enum class Life {
  running,
  paused,    // had an error and waits for reforkd's verdict; accepts nothing meanwhile
  tainted,   // had an error and accepts again, because it was told to or nobody told it anything
  draining,  // accepts nothing any more, finishes what it has
  finished,  // said that it ends; nothing happens after it
};

enum class LifeEvent {
  failure,  // an error that asks for a drain
  serve,    // the verdict: go on for now
  silence,  // no verdict came in time
  drain,    // ordered, asked for, or nobody is there to order it
  finish,
};

}  // namespace refork::worker

namespace refork::base {
template <>
struct EnumNames<worker::Life> {
  static constexpr std::array<std::string_view, 5> names = {"running", "paused", "tainted", "draining",
                                                            "finished"};
};
template <>
struct EnumNames<worker::LifeEvent> {
  static constexpr std::array<std::string_view, 5> names = {"failure", "serve", "silence", "drain", "finish"};
};
static_assert(index(worker::Life::finished) + 1 == enum_count<worker::Life>);
static_assert(index(worker::LifeEvent::finish) + 1 == enum_count<worker::LifeEvent>);
}  // namespace refork::base

namespace refork::worker {

// The whole life as one table: state x event. A tainted worker that fails again goes on accepting: reforkd
// knows of it already, and a burst of errors does not make it flap.
inline constexpr auto life_table = [] {
  using enum Life;
  using Row = std::array<Life, base::enum_count<LifeEvent>>;
  return std::array<Row, base::enum_count<Life>>{{
      // failure   serve     silence   drain     finish
      {paused, running, running, draining, finished},      // running
      {paused, tainted, tainted, draining, finished},      // paused
      {tainted, tainted, tainted, draining, finished},     // tainted
      {draining, draining, draining, draining, finished},  // draining
      {finished, finished, finished, finished, finished},  // finished
  }};
}();

constexpr Life next(Life life, LifeEvent event) { return life_table[base::index(life)][base::index(event)]; }
constexpr bool accepts(Life life) { return life == Life::running || life == Life::tainted; }

}  // namespace refork::worker
