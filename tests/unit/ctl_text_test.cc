#include "ctl/text.h"

#include <gtest/gtest.h>

namespace refork::ctl {
namespace {

TEST(Text, ControlCharactersAreEscaped) {
  EXPECT_EQ(escape("a\033[2Jb\nc\td\re\x7f"), "a\\x1b[2Jb\\nc\\td\\re\\x7f");
  EXPECT_EQ(escape("\xc2\x9b"
                   "31m"),
            "\\u{9b}31m")
      << "C1: a terminal may take it for ESC [";
}

TEST(Text, BytesThatAreNoUtf8AreEscaped) { EXPECT_EQ(escape("a\xff\xc3"), "a\\xff\\xc3"); }

TEST(Text, MarksThatTurnTheDirectionOfWritingAreEscaped) { EXPECT_EQ(escape("a\u202eb"), "a\\u{202e}b"); }

TEST(Text, OtherTextStaysAsItIs) { EXPECT_EQ(escape("Grüße, 世界 🎉"), "Grüße, 世界 🎉"); }

TEST(Text, WideAndCombiningCharactersAreCounted) {
  EXPECT_EQ(columns("abc"), 3u);
  EXPECT_EQ(columns("ü"), 1u);
  EXPECT_EQ(columns("u\u0308"), 1u);
  EXPECT_EQ(columns("世界"), 4u);
}

TEST(Text, WhatIsTooLongEndsInAnEllipsis) {
  EXPECT_EQ(fit("abcdef", 6), "abcdef");
  EXPECT_EQ(fit("abcdef", 5), "abcd…");
  EXPECT_EQ(fit("世界世界", 6), "世界…") << "a wide character is never halved";
  EXPECT_EQ(fit("abcdef", 0), "abcdef");
}

TEST(Text, DurationsAreHumane) {
  EXPECT_EQ(humane_duration(0), "0ms");
  EXPECT_EQ(humane_duration(999), "999ms");
  EXPECT_EQ(humane_duration(59'999), "59s");
  EXPECT_EQ(humane_duration(192'000), "3m12s");
  EXPECT_EQ(humane_duration(7'500'000), "2h05m");
  EXPECT_EQ(humane_duration(273'600'000), "3d04h");
}

TEST(Text, SizesAreHumane) {
  EXPECT_EQ(humane_bytes(1023), "1023B");
  EXPECT_EQ(humane_bytes(1024), "1.0K");
  EXPECT_EQ(humane_bytes(8'493'465), "8.1M");
  EXPECT_EQ(humane_bytes(1'073'741'823), "1.0G") << "never 1024.0M";
}

TEST(Text, ColoursAppearOnlyWhereTheyAreWanted) {
  EXPECT_EQ(paint("x", Color::red, {80, false, 0}), "x");
  EXPECT_EQ(paint("x", Color::red, {80, true, 0}), "\033[31mx\033[0m");
}

TEST(Text, ATableCutsItsLastColumnFirstThenTheLongest) {
  Table table({{"A"}, {"N", true}, {"NOTE"}}, "");
  table.add({{"a-long-name"}, {"1"}, {"a note that is long"}});
  table.add({{"b"}, {"100"}, {""}});
  EXPECT_EQ(table.text({0, false, 0}),
            "A              N  NOTE\n"
            "a-long-name    1  a note that is long\n"
            "b            100\n");
  EXPECT_EQ(table.text({30, false, 0}),
            "A              N  NOTE\n"
            "a-long-name    1  a note that…\n"
            "b            100\n");
  EXPECT_EQ(table.text({20, false, 0}),
            "A           N  NOTE\n"
            "a-long-…    1  a no…\n"
            "b         100\n");
}

TEST(Text, APaintedTableIsAsWideAsAPlainOne) {
  Table table({{"A"}, {"B"}}, "");
  table.add({{"x", Color::red}, {"y"}});
  EXPECT_EQ(table.text({80, true, 0}), "\033[2mA\033[0m  \033[2mB\033[0m\n\033[31mx\033[0m  y\n");
}

}  // namespace
}  // namespace refork::ctl
