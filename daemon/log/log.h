#pragma once

#include <string_view>

#include "core/status.h"

namespace refork::log {

// reforkd's own words: to the journal if stderr is connected to it ($JOURNAL_STREAM), otherwise as lines on
// stderr
// ("reforkd: web/0 worker 17 (pid 4711): ready after 12 ms"). Never blocks for long, never fails. Any thread.
enum class Level {
  error,
  warning,
  notice,
  info,
  debug
};

bool goes_to_journal() noexcept;  // is stderr connected to the journal?
void set_level(Level most);       // default: info
void say(Level level, std::string_view text);
inline void error(std::string_view text) { say(Level::error, text); }
inline void warning(std::string_view text) { say(Level::warning, text); }
inline void notice(std::string_view text) { say(Level::notice, text); }
inline void info(std::string_view text) { say(Level::info, text); }
inline void debug(std::string_view text) { say(Level::debug, text); }

// An event with its fields (MESSAGE_ID, REFORK_EVENT, REFORK_SERVICE …: format.cc has all).
void event(Level level, const core::Event& event);

}  // namespace refork::log
