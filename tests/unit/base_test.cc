#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/enum_names.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "base/utf8.h"

namespace refork::base {
enum class Fruit {
  apple,
  pear
};
template <>
struct EnumNames<Fruit> {
  static constexpr std::array<std::string_view, 2> names = {"apple", "pear"};
};

namespace {

constexpr std::size_t plenty = 1000;

std::string one_line(std::string_view text, std::size_t max = plenty) {
  return utf8_clean(text, Controls::drop, max);
}

TEST(EnumNames, GoThereAndBack) {
  static_assert(enum_count<Fruit> == 2);
  EXPECT_EQ(to_name(Fruit::pear), "pear");
  EXPECT_EQ(from_name<Fruit>("apple"), Fruit::apple);
  EXPECT_EQ(from_name<Fruit>("plum"), std::nullopt);
  EXPECT_EQ(to_name(static_cast<Fruit>(2)), "?");
}

TEST(Ids, AreShortAndOfHarmlessCharacters) {
  EXPECT_TRUE(is_id("17-1"));
  EXPECT_TRUE(is_id(std::string(max_id, 'x')));
  EXPECT_FALSE(is_id(std::string(max_id + 1, 'x')));
  EXPECT_FALSE(is_id(""));
  EXPECT_FALSE(is_id("a/b"));
  EXPECT_FALSE(is_id("a b"));
}

TEST(Result, HoldsAValueOrWhyThereIsNone) {
  const Result<int> good = 3;
  ASSERT_TRUE(good);
  EXPECT_EQ(*good, 3);
  const Result<int> bad = errno_error("open /nowhere", ENOENT);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, ENOENT);
  EXPECT_EQ(bad.error().what, "open /nowhere: No such file or directory");
}

TEST(Result, OfACallCanBeWalkedOver) {
  const auto list = [] { return Result<std::vector<std::string>>(std::vector<std::string>{"one", "two"}); };
  std::string all;
  for (const auto& word : *list()) all += word;
  EXPECT_EQ(all, "onetwo");
}

TEST(UniqueFd, ClosesWhatItOwnsExactlyOnce) {
  const auto is_open = [](int fd) { return ::fcntl(fd, F_GETFD) >= 0; };
  UniqueFd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int fd = first.get();
  UniqueFd second = std::move(first);
  EXPECT_TRUE(is_open(fd));
  EXPECT_EQ(second.get(), fd);
  second.reset();
  EXPECT_FALSE(is_open(fd));
}

TEST(Utf8Sequence, TakesWhatUnicodeCallsWellFormed) {
  EXPECT_EQ(utf8_sequence("a"), 1u);
  EXPECT_EQ(utf8_sequence("\xC3\xA4"), 2u);
  EXPECT_EQ(utf8_sequence("\xE2\x82\xAC"), 3u);
  EXPECT_EQ(utf8_sequence("\xF0\x9F\x98\x80"), 4u);
  EXPECT_EQ(utf8_sequence("\xED\x9F\xBF"), 3u);      // the last before the surrogates
  EXPECT_EQ(utf8_sequence("\xF4\x8F\xBF\xBF"), 4u);  // U+10FFFF
}

TEST(Utf8Sequence, RefusesOverlongSurrogateTruncatedAndStray) {
  for (const char* bad : {"\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xED\xA0\x80",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82", "\x80", "\xFF"})
    EXPECT_EQ(utf8_sequence(bad), 0u) << bad;
  EXPECT_EQ(utf8_sequence(""), 0u);
}

TEST(Utf8Prefix, NeverEndsInsideASequence) {
  const std::string_view euro = "\xE2\x82\xAC";
  EXPECT_EQ(utf8_prefix(euro, 3), euro);
  EXPECT_EQ(utf8_prefix(euro, 2), "");
  EXPECT_EQ(utf8_prefix("a\xE2\x82\xAC", 3), "a");
  EXPECT_EQ(utf8_prefix("ab\xC3\xA4", 3), "ab");
  EXPECT_EQ(utf8_prefix("abc", 2), "ab");
}

TEST(Utf8Prefix, CutsBytesThatAreNoSequenceAnywhere) {
  EXPECT_EQ(utf8_prefix(std::string(10, '\x80'), 7).size(), 7u);
}

TEST(Utf8Clean, ReplacesWhatIsNoTextAndDropsWhatMovesACursor) {
  EXPECT_EQ(one_line("GET /\xC3\xA4"), "GET /\xC3\xA4");
  EXPECT_EQ(one_line("a\xFFz"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(one_line("\x1B[31mred\x7F\r\n\t"), "[31mred");
  EXPECT_EQ(one_line("a\xC2\x9B"
                     "31m"),
            "a31m");  // C1: CSI in one character
  EXPECT_EQ(one_line(std::string_view("a\0b", 3)), "ab");
}

TEST(Utf8Clean, KeepsTheLayoutOfProse) {
  EXPECT_EQ(utf8_clean("a\n\tb\r\x1B", Controls::keep_layout, plenty), "a\n\tb");
}

TEST(Utf8Clean, MarksTheCutAndKeepsToTheLimit) {
  EXPECT_EQ(one_line("abcdefgh", 8), "abcdefgh");
  EXPECT_EQ(one_line("abcdefghi", 8), "abcde\xE2\x80\xA6");
  EXPECT_EQ(one_line("abcd\xC3\xA4"
                     "fghi",
                     8),
            "abcd\xE2\x80\xA6");
}

TEST(Utf8Clean, ChangesNothingTheSecondTime) {
  const std::string once = one_line("\xFF\x01\xE2\x82 long enough to be cut somewhere", 20);
  EXPECT_EQ(one_line(once, 20), once);
}

}  // namespace
}  // namespace refork::base
