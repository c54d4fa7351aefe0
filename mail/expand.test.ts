import assert from 'node:assert/strict'
import { test } from 'node:test'
import { expandRecipient, originalOf } from './expand.ts'

test('an alias for one address passes on what the sender asked for; one for several reports that it was expanded, and its members no success', () => {
  const expanded = (to: string[], notify: Parameters<typeof expandRecipient>[2]['notify'], orcpt: string | null = null) =>
    expandRecipient('team@a.test', to, { notify, orcpt }).map((each) => [each.forwardPath, each.notify.join(), each.orcpt, each.expanded])
  assert.deepEqual(expanded(['team@a.test'], ['SUCCESS']), [['team@a.test', 'SUCCESS', null, undefined]])
  assert.deepEqual(expanded(['ann@a.test'], ['SUCCESS', 'DELAY']), [['ann@a.test', 'SUCCESS,DELAY', 'rfc822;team@a.test', undefined]])
  assert.deepEqual(expanded(['ann@a.test', 'team@a.test'], ['SUCCESS']), [
    ['team@a.test', 'SUCCESS', null, 2], ['ann@a.test', 'NEVER', 'rfc822;team@a.test', undefined], ['team@a.test', 'NEVER', null, undefined]])
  assert.deepEqual(expanded(['ann@a.test', 'bob@a.test'], ['SUCCESS', 'FAILURE'], 'rfc822;was@b.test'), [
    ['team@a.test', 'SUCCESS,FAILURE', 'rfc822;was@b.test', 2], ['ann@a.test', 'FAILURE', 'rfc822;was@b.test', undefined], ['bob@a.test', 'FAILURE', 'rfc822;was@b.test', undefined]])
  assert.deepEqual(expanded(['ann@a.test', 'bob@a.test'], []), [['ann@a.test', '', 'rfc822;team@a.test', undefined], ['bob@a.test', '', 'rfc822;team@a.test', undefined]])
})

test('an original is told where it is another address, not another spelling', () => {
  const original = (orcpt: string | null) => originalOf({ forwardPath: 'Ann@a.test', orcpt })
  assert.deepEqual([original(null), original('rfc822;ann@A.TEST'), original('RFC822;Team@a.test')], [null, null, 'Team@a.test'])
})
