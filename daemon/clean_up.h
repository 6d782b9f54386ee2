#pragma once

namespace refork {

// reforkd --clean-up, which the unit runs whenever reforkd has ended (ExecStopPost=): where it stays stopped,
// what its workers have left in the unit is ended. Where it is started again nothing is touched. Returns the
// exit code.
int clean_up();

}  // namespace refork
