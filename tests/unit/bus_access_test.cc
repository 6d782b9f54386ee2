#include <gtest/gtest.h>

#include "bus/access.h"

namespace refork::bus {
namespace {

constexpr AccessPolicy policy{500, 44};
constexpr Action all[] = {Action::read_status, Action::read_failures, Action::read_messages, Action::operate,
                          Action::administer};

TEST(Access, RootMayDoEverything) {
  for (const auto action : all) EXPECT_TRUE(may({0, 0, {}}, policy, action));
}

TEST(Access, TheDaemonsUserMayDoEverything) {
  for (const auto action : all) EXPECT_TRUE(may({500, 500, {}}, policy, action));
}

TEST(Access, AMemberOfTheGroupOperatesAndReadsFailuresButRemovesNone) {
  const Peer member{1000, 1000, {29, 44}};
  EXPECT_TRUE(may(member, policy, Action::read_status));
  EXPECT_TRUE(may(member, policy, Action::read_failures));
  EXPECT_TRUE(may(member, policy, Action::read_messages));
  EXPECT_TRUE(may(member, policy, Action::operate));
  EXPECT_FALSE(may(member, policy, Action::administer));
}

TEST(Access, ThePrimaryGroupCountsThoughItIsNoSupplementaryOne) {
  EXPECT_TRUE(may({1000, 44, {29}}, policy, Action::operate));
}

TEST(Access, AnybodyElseReadsTheStatusAlone) {
  const Peer other{1000, 1000, {29}};
  EXPECT_TRUE(may(other, policy, Action::read_status));
  for (const auto action : all) EXPECT_EQ(may(other, policy, action), action == Action::read_status);
}

TEST(Access, WithoutAGroupGidZeroIsNobodySpecial) {
  EXPECT_FALSE(may({1000, 0, {0}}, {500, std::nullopt}, Action::operate));
}

TEST(Access, ADenialSaysWhoMay) {
  EXPECT_EQ(denial({1000, 1000, {}}, Action::operate),
            "uid 1000 may not operate services: only root, the user of reforkd and members of the group "
            "refork may");
}

}  // namespace
}  // namespace refork::bus
