// What the real journal holds of refork, and what the catalog says to it.
#include <gmock/gmock.h>

#include <sstream>

#include "e2e/system/installed.h"

namespace refork::test {
namespace {

using nlohmann::json;
using testing::AnyOfArray;
using testing::ContainsRegex;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class Journal : public Installed {
 protected:
  std::vector<json> entries(std::vector<std::string> matches) const {
    std::vector<std::string> argv = {"journalctl", "--no-pager", "-o", "json"};
    argv.insert(argv.end(), matches.begin(), matches.end());
    std::istringstream lines(machine_.run(argv).out);
    std::vector<json> all;
    for (std::string line; std::getline(lines, line);) all.push_back(json::parse(line, nullptr, false));
    return all;
  }
  bool wait_for_entry(const std::vector<std::string>& matches) const {
    return wait_until([&] { return !entries(matches).empty(); });
  }
};

TEST_F(Journal, TellsOfAFailureWithFieldsToSearchFor) {
  serve({{"web", web()}});
  EXPECT_EQ(http_get(kWeb, "/error").status, 500);
  ASSERT_TRUE(wait_for_failures(1));
  const json failure = failures()[0];
  const std::string match = "REFORK_FAILURE_ID=" + failure["id"].get<std::string>();
  ASSERT_TRUE(wait_for_entry({match}));
  const json entry = entries({match})[0];
  EXPECT_EQ(entry["REFORK_SERVICE"], "web");
  EXPECT_EQ(entry["REFORK_SLOT"], std::to_string(failure["slot"].get<int>()));
  EXPECT_EQ(entry["REFORK_WORKER_PID"], std::to_string(failure["pid"].get<int>()));
  EXPECT_EQ(entry["REFORK_FINGERPRINT"], failure["fingerprint"]);
  EXPECT_EQ(entry["REFORK_KIND"], "exception");
  EXPECT_EQ(entry["_SYSTEMD_UNIT"], "reforkd.service");
  EXPECT_EQ(entry["SYSLOG_IDENTIFIER"], "reforkd");
  EXPECT_EQ(entry["MESSAGE_ID"].get<std::string>().size(), 32U);
}

TEST_F(Journal, OfReforkdHasACatalogEntryForEachEvent) {
  serve({{"web", web()}});
  EXPECT_EQ(http_get(kWeb, "/error").status, 500);
  machine_.output({"reforkctl", "reload", "web"});
  ASSERT_TRUE(wait_for_failures(1));
  ASSERT_TRUE(wait_until_settled());
  for (const auto& entry : entries({"SYSLOG_IDENTIFIER=reforkd"})) {
    if (!entry.contains("REFORK_EVENT")) continue;
    ASSERT_TRUE(entry.contains("MESSAGE_ID")) << entry;
    const auto said = machine_.run({"journalctl", "--catalog", "--no-pager", "-o", "short", "-n", "1",
                                    "MESSAGE_ID=" + entry["MESSAGE_ID"].get<std::string>()});
    EXPECT_THAT(said.out, HasSubstr("Subject: ")) << entry;
  }
}

TEST_F(Journal, HasTheOutputOfWorkersUnderTheirServicesName) {
  serve({{"web", web()}});
  ASSERT_TRUE(wait_for_entry({"SYSLOG_IDENTIFIER=web"}));
  const auto workers = pids();
  for (const auto& entry : entries({"SYSLOG_IDENTIFIER=web"})) {
    EXPECT_THAT(std::stoi(entry["_PID"].get<std::string>()), AnyOfArray(workers)) << entry;
    EXPECT_EQ(entry["_SYSTEMD_UNIT"], "reforkd.service");
  }
  EXPECT_THAT(machine_.output({"reforkctl", "logs", "web"}), HasSubstr("listening on"));
  Process follow = machine_.start({"reforkctl", "logs", "web", "--follow"});
  ASSERT_TRUE(follow.wait_for_line("listening on"));
  machine_.output({"reforkctl", "restart", "web"});
  ASSERT_TRUE(wait_until_settled());
  for (const auto pid : pids())
    EXPECT_TRUE(follow.wait_for_line("web[" + std::to_string(pid) + "]")) << follow.output();
}

TEST_F(Journal, GivesARecordTheLastLinesOfItsWorker) {
  serve({{"web", web()}});
  EXPECT_EQ(http_get(kWeb, "/abort").status, 0);
  ASSERT_TRUE(wait_for_failures(1));
  EXPECT_TRUE(wait_until([&] { return !failures()[0]["output_tail"].is_null(); })) << failures();
  EXPECT_THAT(failures()[0]["output_tail"].dump(), HasSubstr("listening on"));
}

TEST_F(Journal, ThatStandsStillHoldsUpNobody) {
  serve({{"web", web()}});
  machine_.output({"systemctl", "kill", "-s", "STOP", "systemd-journald"});
  for (int i = 0; i < 20; ++i) EXPECT_EQ(http_get(kWeb, "/error").status, 500);
  EXPECT_TRUE(wait_until_settled());
  EXPECT_EQ(http_get(kWeb, "/").status, 200);
  machine_.output({"systemctl", "kill", "-s", "CONT", "systemd-journald"});
  EXPECT_TRUE(wait_for_failures(20));
}

}  // namespace
}  // namespace refork::test
