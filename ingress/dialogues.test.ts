import { after, test } from 'node:test'
import { dialogue, testIngress } from './testing.ts'

const edge = await testIngress({ limits: { messageSize: '1MiB', recipients: 3, errors: 9 }, relayNetworks: ['127.0.0.1'] })
after(edge.end)

const ehlo = '> EHLO c.test\n< 250\n'
const envelope = `${ehlo}> MAIL FROM:<s@a.test>\n< 250 2.1.0\n> RCPT TO:<r@example.test>\n< 250 2.1.5\n`

/** Each is played in the clear and under TLS. */
const dialogues: Record<string, string> = {
  'every reply has one enhanced code': `
    > EHLO c.test
    < 250
    > NOOP
    < 250 2.0.0 Ok
    > RSET
    < 250 2.0.0 Ok
    > HELP
    < 214 2.0.0
    > VRFY r@example.test
    < 252 2.0.0
    > QUIT
    < 221 2.0.0 Bye
    < closed`,
  'HELO is enough for mail without extensions': `
    > HELO c.test
    < 250 mx.example.test
    > MAIL FROM:<s@a.test>
    < 250 2.1.0
    > RCPT TO:<r@example.test>
    < 250 2.1.5
    > DATA
    < 354 End data
    > Subject: x
    >
    > .
    < 250 2.0.0 Ok: queued as `,
  'a client may call itself anything that can be printed, as many do': `
    ${["JOHN'S-PC", '(none)', 'M\xdcLLER', 'M\xc3\x9cLLER', '\x9aX', '[IPv6:fe80::1%eth0]', 'a b', '-'].map((name) => `> EHLO ${name}\n< 250\n> HELO ${name}\n< 250\n`).join('')}
    > EHLO a\tb
    < 501 5.5.4
    > EHLO ${'x'.repeat(256)}
    < 501 5.5.4
    > MAIL FROM:<s@a.test>
    < 250 2.1.0
    > RCPT TO:<r\xe9@example.test>
    < 500 5.5.2
    > RCPT TO:<r@example.test>
    < 250 2.1.5`,
  'wrong order is 503 5.5.1': `
    > MAIL FROM:<s@a.test>
    < 503 5.5.1
    > EHLO c.test
    < 250
    > RCPT TO:<r@example.test>
    < 503 5.5.1
    > DATA
    < 503 5.5.1
    > MAIL FROM:<s@a.test>
    < 250 2.1.0
    > MAIL FROM:<s@a.test>
    < 503 5.5.1
    > DATA
    < 503 5.5.1
    > RCPT TO:<x@[300.1.1.1]>
    < 501 5.1.3
    > DATA
    < 554 5.5.1 No valid recipients`,
  'a refused MAIL leaves nothing behind': `
    ${ehlo}
    > MAIL FROM:<s@a.test> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=zz FOO=bar
    < 555 5.5.4
    > RCPT TO:<r@example.test>
    < 503 5.5.1
    > MAIL FROM:<s@a.test>
    < 250 2.1.0
    > RCPT TO:<\xc3\xa9@example.test>
    < 553 5.6.7`,
  'RSET and EHLO end a transaction': `
    ${envelope}
    > RSET
    < 250 2.0.0
    > RCPT TO:<r@example.test>
    < 503 5.5.1
    > MAIL FROM:<s@a.test>
    < 250 2.1.0
    > EHLO c.test
    < 250
    > RCPT TO:<r@example.test>
    < 503 5.5.1`,
  'unknown and malformed parameters': `
    ${ehlo}
    > MAIL FROM:<s@a.test> MT-PRIORITY=3
    < 555 5.5.4 Unknown parameter MT-PRIORITY
    > MAIL FROM:<s@a.test> SIZE=1 SIZE=1
    < 501 5.5.4
    > MAIL FROM:<s@a.test> SIZE=x
    < 501 5.5.4
    > MAIL FROM:<s@a.test> BODY=9BIT
    < 501 5.5.4
    > MAIL FROM:<s@a.test> RET=SOME
    < 501 5.5.4
    > MAIL FROM:<s@a.test> ENVID=a+zz
    < 501 5.5.4
    > MAIL FROM:<s@a.test>SIZE=1
    < 501 5.5.4
    > MAIL FROM:<s@a.test> SIZE=99999999
    < 552 5.3.4`,
  'RCPT parameters': `
    ${ehlo}
    > MAIL FROM:<s@a.test> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=a+2Bb
    < 250 2.1.0
    > RCPT TO:<r@example.test> NOTIFY=NEVER,DELAY
    < 501 5.5.4
    > RCPT TO:<r@example.test> NOTIFY=SOON
    < 501 5.5.4
    > RCPT TO:<r@example.test> ORCPT=r@example.test
    < 501 5.5.4
    > RCPT TO:<r@example.test> RET=FULL
    < 555 5.5.4
    > RCPT TO:<r@example.test> NOTIFY=success,FAILURE ORCPT=rfc822;R+2Bx@example.test
    < 250 2.1.5`,
  'addresses that are none': `
    ${ehlo}
    > MAIL FROM:s@a.test
    < 501 5.1.7
    > MAIL FROM:<s@@a.test>
    < 501 5.1.7
    > MAIL FROM:<s@-a.test>
    < 501 5.1.7
    > MAIL FROM:<postmaster>
    < 501 5.1.7
    > MAIL TO:<s@a.test>
    < 501 5.5.4
    > MAIL FROM:<>
    < 250 2.1.0
    > RCPT TO:<>
    < 501 5.1.3
    > RCPT TO:<${'x'.repeat(256)}@example.test>
    < 501 5.1.3
    > RCPT TO:<a..b@example.test>
    < 501 5.1.3`,
  'addresses as RFC 5321 lets them be': `
    ${ehlo}
    > MAIL FROM: <"a b"@a.test>
    < 250 2.1.0
    > RCPT TO:<"a@b"@example.test>
    < 250 2.1.5
    > RCPT TO:<@relay.test,@other.test:r@example.test>
    < 250 2.1.5
    > RCPT TO:<Postmaster>
    < 250 2.1.5
    > RCPT TO:<r@[127.0.0.1]>
    < 452 4.5.3`,
  'no more commands than lines: bare CR, NUL, text that is not UTF-8, too long': `
    ${ehlo}
    >> MAIL FROM:<s@a.test>\\rRCPT TO:<r@example.test>\\r\\n
    < 500 5.5.2
    >> NOOP\\0\\r\\n
    < 500 5.5.2
    > NOOP \xff
    < 500 5.5.2
    > NOOP ${'x'.repeat(5000)}
    < 500 5.5.2
    > NOOP ${'x'.repeat(100_000)}
    < 500 5.5.2
    > FOO
    < 500 5.5.1
    > EXPN list
    < 502 5.5.1
    > RSET now
    < 501 5.5.4
    > EHLO
    < 501 5.5.4
    > NOOP
    < 250 2.0.0`,
  'a bare LF ends the session': `
    >> EHLO c.test\\nMAIL FROM:<s@a.test>\\n
    < 521 5.5.2
    < closed`,
  'too many errors end the session': `
    ${'> FOO\n< 500 5.5.1\n'.repeat(10)}
    < 421 4.7.0
    < closed`,
  'pipelining: commands in one segment, replies in order': `
    ${ehlo}
    > MAIL FROM:<s@a.test>
    > RCPT TO:<r@example.test>
    > RCPT TO:<nobody@[300.1.1.1]>
    > DATA
    < 250 2.1.0
    < 250 2.1.5
    < 501 5.1.3
    < 354
    > Subject: x
    > .
    > MAIL FROM:<s2@a.test>
    > RCPT TO:<r@example.test>
    > DATA
    < 250 2.0.0 Ok: queued as
    < 250 2.1.0
    < 250 2.1.5
    < 354
    > .
    < 250 2.0.0 Ok: queued as `,
  'who does not wait for the reply to DATA is not listened to': `
    ${envelope}
    > DATA
    > Subject: x
    > .
    < 554 5.5.1
    < closed`,
  'who pipelines before EHLO is not listened to': `
    > EHLO c.test
    > MAIL FROM:<s@a.test>
    < 554 5.5.1
    < closed`,
  'BDAT in chunks, with any line ends inside the octets of BINARYMIME': `
    ${ehlo}
    > MAIL FROM:<s@a.test> BODY=BINARYMIME
    > RCPT TO:<r@example.test>
    < 250 2.1.0
    < 250 2.1.5
    > DATA
    < 503 5.5.1
    >> BDAT 5\\r\\na\\nb\\0.
    < 250 2.0.0 5 octets received
    > RCPT TO:<r2@example.test>
    < 503 5.5.1
    >> BDAT 3\\r\\n\\r.\\rBDAT 0 LAST\\r\\n
    < 250 2.0.0
    < 250 2.0.0 Ok: queued as `,
  'BDAT and DATA do not mix, and lines hold without BINARYMIME': `
    ${envelope}
    >> BDAT 4\\r\\na\\nbc
    < 250 2.0.0
    > DATA
    < 503 5.5.1
    > BDAT 0 LAST
    < 550 5.6.0`,
  'octets of a refused BDAT are not taken for commands': `
    ${ehlo}
    > BDAT 6
    >> QUIT\\r\\n
    < 503 5.5.1
    > MAIL FROM:<s@a.test>
    < 250 2.1.0
    > BDAT 6 LAST
    >> QUIT\\r\\n
    < 503 5.5.1
    > BDAT x
    < 501 5.5.4
    < closed`,
  'a message by BDAT that is too large': `
    ${envelope}
    > BDAT 1100000
    >> ${'x'.repeat(1_100_000)}
    < 552 5.3.4
    > BDAT 2 LAST
    >> \\r\\n
    < 503 5.5.1
    > RSET
    < 250 2.0.0
    > MAIL FROM:<s@a.test>
    < 250 2.1.0`,
}

for (const [name, script] of Object.entries(dialogues)) {
  for (const tls of [false, true]) {
    test(`${name} (${tls ? 'under TLS' : 'in the clear'})`, async () => void await dialogue(edge.port('smtp'), script, tls))
  }
}
