// How a message of reforkd looks as a line and as a journal entry. Values in, text out.
#include "log/format.h"

#include <syslog.h>

#include <array>
#include <cstdio>

namespace refork::log {
namespace {

constexpr std::string_view prefix = "reforkd: ", cut_mark = "...";

int priority(Level level) {
  static constexpr std::array priorities = {LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG};
  return priorities[static_cast<std::size_t>(level)];
}

bool is_control(char byte) { return static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f; }

bool continues_character(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

}  // namespace

std::string event_text(const core::Event& event) {
  std::string who = event.service;
  if (event.slot) who += "/" + std::to_string(*event.slot);
  if (event.worker != 0) who += (who.empty() ? "worker " : " worker ") + std::to_string(event.worker);
  if (event.pid != 0) who += (who.empty() ? "(pid " : " (pid ") + std::to_string(event.pid) + ")";
  const std::string text = event.detail.empty() ? event.text : event.text + ": " + event.detail;
  return who.empty() ? text : who + ": " + text;
}

std::string line(std::string_view text) {
  std::string out(prefix);
  constexpr std::size_t room = longest_line - prefix.size() - 1;
  const bool fits = text.size() <= room;
  if (!fits) {
    std::size_t end = room - cut_mark.size();
    while (end > 0 && continues_character(text[end])) --end;
    text = text.substr(0, end);
  }
  for (const char byte : text) out += is_control(byte) ? ' ' : byte;
  if (!fits) out += cut_mark;
  return out += '\n';
}

std::vector<std::string> journal_fields(Level level, std::string_view text, const core::Event* event) {
  std::vector<std::string> fields = {"MESSAGE=" + std::string(text.substr(0, longest_message)),
                                     "PRIORITY=" + std::to_string(priority(level)),
                                     "SYSLOG_IDENTIFIER=reforkd"};
  if (!event) return fields;
  const auto add = [&fields](std::string_view name, std::string_view value) {
    if (!value.empty()) fields.push_back(std::string(name) + "=" + std::string(value));
  };
  const auto add_number = [&add](std::string_view name, std::uint64_t value) {
    if (value != 0) add(name, std::to_string(value));
  };
  add("MESSAGE_ID", event->type.message_id());
  add("REFORK_EVENT", event->type.name());
  add("REFORK_SERVICE", event->service);
  if (event->slot) add("REFORK_SLOT", std::to_string(*event->slot));
  add_number("REFORK_WORKER", event->worker);
  add_number("REFORK_WORKER_PID", static_cast<std::uint64_t>(event->pid));
  add_number("REFORK_GENERATION", event->generation);
  add("REFORK_FAILURE_ID", event->failure);
  add("REFORK_KIND", event->kind);
  add("REFORK_FINGERPRINT", event->fingerprint);
  return fields;
}

bool is_journal_stream(const char* variable, dev_t device, ino_t inode) {
  return variable && variable == std::to_string(device) + ":" + std::to_string(inode);
}

}  // namespace refork::log
