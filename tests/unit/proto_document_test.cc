// PROTOCOL.md against the message table and the layout: the prose cannot say anything else than the code.

#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "proto/messages.h"
#include "recorder/layout.h"

namespace refork::proto {
namespace {

std::vector<std::string> document() {
  std::ifstream file(REFORK_SOURCE_DIR "/PROTOCOL.md");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::string direction(Direction d) {
  return d == Direction::both ? "both" : d == Direction::to_primary ? "to primary" : "to worker";
}

std::string state_names(States set) {
  if (set == any_state) return "any";
  std::string all;
  for (std::size_t i = 0; i < base::enum_count<WorkerState>; ++i)
    if (set & (1u << i)) (all += all.empty() ? "" : ", ") += base::to_name(static_cast<WorkerState>(i));
  return all;
}

std::string row(const MessageSpec& s) {
  return "| `" + std::string(base::to_name(s.type)) + "` | " + direction(s.direction) + " | " +
         state_names(s.legal) + " | " + std::to_string(s.max_size) + " | " + std::to_string(s.max_fds) + " |";
}

TEST(ProtocolDocument, HasExactlyTheMessagesOfTheTable) {
  std::vector<std::string> written, expected;
  bool in_table = false;
  for (const auto& line : document()) {
    if (line.rfind("| message | direction |", 0) == 0) in_table = true;
    if (line.empty()) in_table = false;
    if (in_table && line.rfind("| `", 0) == 0) written.push_back(line);
  }
  for (const auto& s : message_table) expected.push_back(row(s));
  EXPECT_EQ(written, expected);
}

// The lines between ```json and ```, each under the last heading before it.
std::map<std::string, std::string> examples() {
  std::map<std::string, std::string> all;
  std::string heading;
  bool inside = false;
  for (const auto& line : document()) {
    if (line.rfind("#### ", 0) == 0) heading = line.substr(5);
    if (inside && line != "```") all[heading] += line;
    inside = line == "```json" || (inside && line != "```");
  }
  return all;
}

TEST(ProtocolDocument, HasAnExampleOfEachMessageThatTheCodecWouldWrite) {
  const auto all = examples();
  EXPECT_EQ(all.size(), message_table.size());
  for (const auto& s : message_table) {
    const std::string name(base::to_name(s.type));
    ASSERT_TRUE(all.count(name)) << name;
    const auto message = decode(all.at(name));
    ASSERT_TRUE(message) << name << ": " << message.error().what;
    EXPECT_EQ(type_of(*message), s.type);
    EXPECT_EQ(encode(*message), all.at(name));
  }
}

std::string text() {
  std::string all;
  for (const auto& line : document()) all += line + "\n";
  return all;
}

void expect_row(const std::string& row) { EXPECT_NE(text().find("\n| " + row), std::string::npos) << row; }

TEST(ProtocolDocument, HasTheRecordersOffsets) {
  using namespace recorder;
  using Request = recorder::Request;
  const auto at = [](std::size_t offset, const std::string& rest) {
    expect_row(std::to_string(offset) + rest);
  };
  at(requests_offset, " | 1024 x 256 |");
  at(records_offset, " | 64 x 16384 |");
  at(crash_offset, " | 8 x 4096 | fatal signals |");
  at(modules_offset, " | 128 x 512 |");
  at(threads_offset, " | 64 x 2048 |");
  at(total_size, " | | end |");
  at(offsetof(Header, identity), " | 88 bytes |");
  static_assert(sizeof(Identity) == 88);
  at(offsetof(Header, pid), " | i32 |");
  at(offsetof(Header, draining), " | u32 |");
  at(offsetof(Header, unnamed), " | u64 | requests in flight beyond");
  at(offsetof(Header, unnamed_served), " | u64 |");
  at(offsetof(Header, crossed), " | u64 | requests lost");
  at(offsetof(Header, record_sequence), " | u64 | the last sequence");
  at(offsetof(Header, dropped_total), " | u64 | records that found no");
  at(offsetof(Header, dropped), " | 16 x (u64, u64) |");
  at(offsetof(Header, shows_query), " | u32 | 1 if the application means");
  at(offsetof(Header, stacks_wanted), " | u32 | the number of the latest demand");
  at(offsetof(Header, answers_stacks), " | u32 | 1 if the worker's threads");
  at(offsetof(Header, modules_used), " | u32 | how many of the module slots");
  at(offsetof(Header, beats), " | 32 x (u32, u32, u64) |");
  at(offsetof(Header, has_timeouts), " | u32 | 1 once a request was given");
  at(offsetof(Header, version), " | u32 | version of the layout, " + std::to_string(layout_version) + " |");
  at(offsetof(Request, label_length), " | u32 | length of the label");
  at(offsetof(Request, label), " | 192 bytes | label");
  at(offsetof(Request, timeout_ms), " | u32 | its own timeout");
  at(offsetof(CrashSlot, address), " | u64 | address of the fault |");
  at(offsetof(CrashSlot, time_ms), " | u64 | when");
  at(offsetof(CrashSlot, contained), " | u32 | 1 if it is contained");
  at(offsetof(CrashSlot, age_ms), " | u64 | age in ms of the request");
  at(offsetof(CrashSlot, in_flight), " | u64 |");
  at(offsetof(CrashSlot, has_request), " | u32 | 1 if the thread");
  at(offsetof(CrashSlot, label), " | 192 bytes | label of the request |");
  at(offsetof(CrashSlot, domains), " | 1024 bytes | the domains");
  at(offsetof(CrashSlot, frames), " | 128 x (u64, u32, u32) |");
  at(offsetof(ModuleSlot, build_id), " | 32 bytes | build-id |");
  at(offsetof(ModuleSlot, path), " | 456 bytes | path |");
  at(offsetof(ThreadSlot, name), " | 16 bytes | name of the thread |");
  at(offsetof(ThreadSlot, frame_count), " | u32 | number of frames |");
  at(offsetof(ThreadSlot, frames), " | 124 x (u64, u32, u32) |");
  at(offsetof(Record, sequence), " | u64 | sequence number");
  at(offsetof(Record, json), " | 16368 bytes | a failure record");
  static_assert(request_count == 1024 && sizeof(Request) == 256 && record_count == 64 &&
                sizeof(Record) == 16384);
  static_assert(sizeof(Record::json) == 16368 && label_size == 192 && dropped_count == 16);
}

TEST(ProtocolDocument, HasTheLimits) {
  for (const std::size_t limit : {max_packet, max_app_message})
    EXPECT_NE(text().find(std::to_string(limit) + " bytes"), std::string::npos) << limit;
}

}  // namespace
}  // namespace refork::proto
