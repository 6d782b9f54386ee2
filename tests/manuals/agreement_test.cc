// What the manual pages say against what there is.
#include <gmock/gmock.h>
