// The one command that needs no reforkd: it reads the configuration with reforkd's own parser, so that both
// agree.
#include "ctl/check_config.h"

#include <nlohmann/json.hpp>

#include "config/config.h"

namespace refork::ctl {

namespace {

std::string as_json(const std::string& file, const config::Outcome& outcome) {
  using Json = nlohmann::ordered_json;
  Json problems = Json::array();
  for (const auto& problem : outcome.problems)
    problems.push_back({{"file", problem.file},
                        {"line", problem.line},
                        {"column", problem.column},
                        {"path", problem.path},
                        {"what", problem.what}});
  const Json json = {{"file", file}, {"ok", outcome.ok()}, {"problems", std::move(problems)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

int check_config(const Invocation& call, const Console& console) {
  const auto outcome = config::load(call.target);
  if (call.json) {
    console.out(as_json(call.target, outcome));
  } else {
    for (const auto& problem : outcome.problems) console.err(escape(problem.text()) + "\n");
    if (outcome.ok())
      console.out(escape(call.target) + ": ok, " + count_of(outcome.config.services.size(), "service") +
                  "\n");
  }
  return outcome.ok() ? Exit::ok : Exit::failed;
}

}  // namespace refork::ctl
