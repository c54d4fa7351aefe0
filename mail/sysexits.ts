// How a program says by its exit code what went wrong: the codes of sysexits.h, by its names without EX_. Sendmail's kin have always spoken so.

export const sysexits = {
  usage: 64, dataErr: 65, noInput: 66, noUser: 67, noHost: 68, unavailable: 69, software: 70, cantCreat: 73, tempFail: 75, protocol: 76, noPerm: 77, config: 78,
} as const
