#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/service_config.h"

namespace refork::config {

// One mistake of the user's: where it is, and what was expected.
struct Problem {
  std::string file;                  // or the option's name, on the command line
  std::size_t line = 0, column = 0;  // from 1; 0: does not apply
  std::string path;                  // "services.web.workers"
  std::string what;                  // "expected a whole number from 1 to 1024, found \"four\""
  std::string text() const;          // FILE:LINE:COLUMN: PATH: what
};

struct Outcome {
  core::DaemonConfig config;      // meaningful only without problems
  std::vector<Problem> problems;  // all of them, not only the first
  bool ok() const { return problems.empty(); }
};

// A file larger than this is refused.
inline constexpr std::size_t max_file_size = 1 << 20;

// Pure: `file` is only named in problems.
Outcome parse(std::string_view text, const std::string& file);
Outcome load(const std::string& file);

// `reforkd run`: options NAME -> VALUE as given ("workers" -> "4", "restart-backoff" -> "100ms,30s"),
// `listen` possibly many times. The names are those of option_names(), generated from the same schema;
// "start_timeout", the key's own spelling, is taken for "start-timeout". A problem's `file` is the option
// ("--workers").
struct Option {
  std::string name, value;
};
Outcome from_options(const std::string& service, const std::vector<Option>& options,
                     const std::vector<std::string>& command);
struct OptionHelp {
  std::string name;   // "restart-backoff"
  std::string alias;  // "start_timeout", the key's own spelling; empty if that is the name
  std::string value;  // "MIN,MAX"
  std::string help;
  std::string fallback;  // what holds without it, as one would write it; empty: nothing, or the help says
  bool repeats = false;
};
std::vector<OptionHelp> option_names();

// Durations: "250ms", "10s", "5m", "24h", "30d".
base::Result<core::Millis> parse_duration(std::string_view text);
// Sizes: "4096", "64K", "400M", "2G".
base::Result<std::uint64_t> parse_size(std::string_view text);

}  // namespace refork::config
