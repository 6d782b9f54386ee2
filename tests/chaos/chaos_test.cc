// The chaos program's own judgement: an event log that says something else than the status is found out.
#include <gmock/gmock.h>

#include "chaos/replay.h"

namespace refork::chaos {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

json event(std::uint64_t number, const std::string& type, json worker, const std::string& text = "") {
  return {{"sequence", number}, {"type", type}, {"service", "web"}, {"slot", 0},
          {"worker", worker},   {"pid", 7},     {"text", text}};
}

Models status() { return {{"web", {"running", {{2, {0, 7, "serving"}}}}}}; }

const std::vector<json> log = {event(5, "worker-started", 2), event(6, "worker-draining", 1, "drains: error"),
                               event(7, "worker-ready", 2), event(8, "worker-ended", 1),
                               event(9, "service-state", nullptr, "running")};
const Models before = {{"web", {"degraded", {{1, {0, 6, "serving"}}}}}};

TEST(Replay, GivesTheStatus) {
  std::vector<std::string> problems;
  EXPECT_THAT(differences(replay(before, log, problems), status()), IsEmpty());
  EXPECT_THAT(problems, IsEmpty());
}

TEST(Replay, FindsAnEventThatIsMissing) {
  for (std::size_t missing = 0; missing < log.size(); ++missing) {
    if (missing == 1) continue;  // of a worker that is gone afterwards
    auto rest = log;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(missing));
    std::vector<std::string> problems;
    EXPECT_THAT(differences(replay(before, rest, problems), status()), testing::SizeIs(1)) << missing;
    const bool gap = missing > 0 && missing + 1 < log.size();
    EXPECT_THAT(problems, testing::SizeIs(gap ? 1 : 0));
  }
}

TEST(Replay, ReadsAStatus) {
  const json seen = {{"services",
                      {{{"name", "web"},
                        {"state", "running"},
                        {"workers",
                         {{{"id", 2}, {"slot", 0}, {"pid", 7}, {"state", "serving"}},
                          {{"id", nullptr}, {"slot", 1}, {"pid", nullptr}, {"state", "backoff"}}}}}}}};
  EXPECT_THAT(differences(status(), models_of(seen)), IsEmpty());
}

}  // namespace
}  // namespace refork::chaos
