// What systemctl status shows of reforkd.
#include "core/status_line.h"

#include <gtest/gtest.h>

namespace refork::core {
namespace {

using State = ServiceState;

TEST(StatusLine, TellsServicesAndWorkersAndNothingElseWhereAllIsWell) {
  EXPECT_EQ(status_line({{"web", State::running, 4, 4}, {"api", State::running, 2, 2}}, 0, true),
            "2 services, 6 workers serving");
  EXPECT_EQ(status_line({{"web", State::running, 1, 1}}, 0, true), "1 service, 1 worker serving");
}

TEST(StatusLine, NamesTheServicesThatAreNotAsTheyAreWantedAndSaysWhatIsMissing) {
  EXPECT_EQ(status_line({{"web", State::degraded, 3, 4}, {"api", State::running, 2, 2}}, 3, true),
            "2 services, 5 of 6 workers serving; web degraded; 3 failures in the last hour");
  EXPECT_EQ(status_line({{"web", State::stopped, 0, 0}}, 1, false),
            "1 service, 0 workers serving; web stopped; 1 failure since the start");
}

TEST(StatusLine, StaysOneLineHoweverManyServicesThereAre) {
  std::vector<ServiceInLine> services;
  const auto add = [&services](std::size_t upto) {
    while (services.size() < upto)
      services.push_back({"s" + std::to_string(services.size()), State::starting, 0, 1});
  };
  add(most_named);
  EXPECT_EQ(status_line(services, 0, true),
            "3 services, 0 of 3 workers serving; s0 starting; s1 starting; s2 starting");
  add(most_named + 1);
  EXPECT_EQ(
      status_line(services, 0, true),
      "4 services, 0 of 4 workers serving; s0 starting; s1 starting; s2 starting; 1 other not running as "
      "wanted");
}

TEST(RecentFailures, AreCountedForAnHourAndForgottenWithinAMinuteMore) {
  RecentFailures failures;
  const Time start{};
  EXPECT_FALSE(failures.next_change()) << "nothing to wake up for";
  failures.add(start);
  failures.add(start + recent_bucket / 2);
  failures.add(start + std::chrono::minutes(30));
  EXPECT_EQ(failures.count(start + recent_window), 3U);
  const auto first = failures.next_change();
  ASSERT_TRUE(first);
  EXPECT_EQ(failures.count(*first - Millis(1)), 3U);
  EXPECT_EQ(failures.count(*first), 1U);
  EXPECT_LE(*first, start + recent_window + recent_bucket);
  EXPECT_EQ(failures.count(start + std::chrono::hours(2)), 0U);
  EXPECT_FALSE(failures.next_change());
}

}  // namespace
}  // namespace refork::core
