// What reports say to people: data, by language. `{name}` stands for a value; settings, reports.texts, replaces single texts.

/** What each text is for, and which values it may name. */
export const reportTextsAbout = {
  subjectFailed: 'Subject of a report that a delivery failed.',
  subjectDelayed: 'Subject of one that a message waits.',
  subjectSucceeded: 'Subject of one that it was delivered, as the sender had asked.',
  subjectPostmaster: 'Subject of one to the postmaster.',
  failed: 'First lines of a report that a delivery failed: `{hostname}`, `{arrived}`, `{until}`.',
  delayed: 'First lines of one that a message waits.',
  succeeded: 'First lines of one that it was delivered.',
  postmaster: 'First lines to the postmaster: a report, or other mail without a sender, could not be delivered.',
  expired: 'Before the last reply, when the time was over: `{lifetime}`.',
  deliveredLine: 'What became of a recipient: delivered.',
  expandedLine: 'The same: an alias for several.',
  relayedLine: 'The same: handed to a system that sends no such reports.',
  help: 'The last lines: `{id}`.',
  returnedHere: 'What to do where this system gave up by its own word, or an operator said so, and the code says no more.',
  advice: 'What to do, by enhanced status code: the longest beginning wins, so `5.1` stands for all codes below it.',
}

export type ReportTexts = Record<Exclude<keyof typeof reportTextsAbout, 'advice'>, string> & { advice: Record<string, string> }

const en: ReportTexts = {
  subjectFailed: 'Undelivered mail returned to sender',
  subjectDelayed: 'Delayed mail (still being tried)',
  subjectSucceeded: 'Successful mail delivery report',
  subjectPostmaster: 'Postmaster copy: undelivered mail without a sender',
  failed: 'This is the mail system at {hostname}. Your message of {arrived} could not be delivered to the recipients below. It is not tried again.',
  delayed: 'This is the mail system at {hostname}. Your message of {arrived} has not been delivered to the recipients below yet. '
    + 'You need not do anything: it is tried again until {until}, and you are told if that fails.',
  succeeded: 'This is the mail system at {hostname}. As you asked, this is to tell you what became of your message of {arrived}.',
  postmaster: 'This is the mail system at {hostname}. A message without a sender, most likely itself a report, arrived on {arrived} and could not be delivered. Nobody else is told.',
  expired: 'It was tried for {lifetime} and not taken; the address may well be right. The last answer was:',
  deliveredLine: 'It was delivered to the mailbox.',
  expandedLine: 'This address stands for several others. The message goes to each of them; you are not told when they have it.',
  relayedLine: 'It was handed to a mail system that sends no delivery reports of its own. Whether it reached the mailbox is not known.',
  help: "For help, ask your postmaster, and name the message's queue id: {id}",
  returnedHere: 'It was returned by this mail system itself, not by that of the recipient. If you think this is a mistake, ask your postmaster.',
  advice: {
    '4': 'You may send it again later, or reach the recipient by another way.',
    '5': 'The reason above is what the other mail system gave. If it does not help, ask the recipient by another way.',
    '5.1': 'Check the address for mistakes, and send the message again to the right one.',
    '5.1.2': 'Check the part after the @ for mistakes: there is no such mail domain.',
    '5.1.7': 'The other system does not accept your own address as a sender. Ask your postmaster.',
    '5.1.8': 'The other system does not accept your own address as a sender. Ask your postmaster.',
    '5.1.10': 'This domain takes no mail at all. Ask the recipient for another address.',
    '5.2.1': 'The mailbox is closed. Ask the recipient for another address.',
    '5.2.2': 'The mailbox is full. Tell the recipient by another way, and send the message again later.',
    '5.2.3': 'The message is too large for this mailbox. Send it with smaller attachments, or a link to them.',
    '5.3.4': 'The message is too large for the other system. Send it with smaller attachments, or a link to them.',
    '5.4.6': 'The mail systems send the message round in a circle. Ask your postmaster.',
    '5.6': 'The other system cannot take this kind of content or address. Send the message in a simpler form.',
    '5.7': 'The other system refused the message by its rules. If you think this is a mistake, ask your postmaster to look into it.',
  },
}

const de: ReportTexts = {
  subjectFailed: 'Unzustellbare Nachricht zurück an den Absender',
  subjectDelayed: 'Zustellung verzögert (wird weiter versucht)',
  subjectSucceeded: 'Bericht über die Zustellung',
  subjectPostmaster: 'Kopie an den Postmaster: unzustellbare Nachricht ohne Absender',
  failed: 'Hier ist das Mailsystem {hostname}. Ihre Nachricht vom {arrived} konnte den unten genannten Empfängern nicht zugestellt werden. Es wird nicht weiter versucht.',
  delayed: 'Hier ist das Mailsystem {hostname}. Ihre Nachricht vom {arrived} ist den unten genannten Empfängern noch nicht zugestellt. '
    + 'Sie müssen nichts tun: es wird bis {until} weiter versucht, und Sie erhalten Bescheid, falls es nicht gelingt.',
  succeeded: 'Hier ist das Mailsystem {hostname}. Wie gewünscht erfahren Sie hiermit, was aus Ihrer Nachricht vom {arrived} geworden ist.',
  postmaster: 'Hier ist das Mailsystem {hostname}. Eine Nachricht ohne Absender, vermutlich selbst ein Bericht, kam am {arrived} an und war nicht zustellbar. Niemand sonst erfährt davon.',
  expired: 'Sie wurde {lifetime} lang versucht und nicht angenommen; die Adresse kann durchaus stimmen. Die letzte Antwort war:',
  deliveredLine: 'Sie wurde in das Postfach zugestellt.',
  expandedLine: 'Diese Adresse steht für mehrere andere. Die Nachricht geht an jede von ihnen; wenn sie dort ist, erfahren Sie es nicht.',
  relayedLine: 'Sie wurde einem Mailsystem übergeben, das keine eigenen Berichte schickt. Ob sie das Postfach erreicht hat, ist nicht bekannt.',
  help: 'Hilfe gibt Ihr Postmaster; nennen Sie ihm die Kennung der Nachricht: {id}',
  returnedHere: 'Dieses Mailsystem selbst hat sie zurückgegeben, nicht das des Empfängers. Halten Sie das für einen Irrtum, fragen Sie Ihren Postmaster.',
  advice: {
    '4': 'Senden Sie sie später noch einmal, oder erreichen Sie den Empfänger auf anderem Wege.',
    '5': 'Den Grund oben hat das andere Mailsystem genannt. Hilft er nicht weiter, fragen Sie den Empfänger auf anderem Wege.',
    '5.1': 'Prüfen Sie die Adresse auf Schreibfehler, und senden Sie die Nachricht noch einmal an die richtige.',
    '5.1.2': 'Prüfen Sie den Teil nach dem @ auf Schreibfehler: eine solche Mail-Domain gibt es nicht.',
    '5.1.7': 'Das andere System nimmt Ihre eigene Adresse nicht als Absender an. Fragen Sie Ihren Postmaster.',
    '5.1.8': 'Das andere System nimmt Ihre eigene Adresse nicht als Absender an. Fragen Sie Ihren Postmaster.',
    '5.1.10': 'Diese Domain nimmt gar keine Mail an. Fragen Sie den Empfänger nach einer anderen Adresse.',
    '5.2.1': 'Das Postfach ist geschlossen. Fragen Sie den Empfänger nach einer anderen Adresse.',
    '5.2.2': 'Das Postfach ist voll. Sagen Sie es dem Empfänger auf anderem Wege, und senden Sie die Nachricht später noch einmal.',
    '5.2.3': 'Die Nachricht ist diesem Postfach zu groß. Senden Sie kleinere Anhänge, oder einen Verweis darauf.',
    '5.3.4': 'Die Nachricht ist dem anderen System zu groß. Senden Sie kleinere Anhänge, oder einen Verweis darauf.',
    '5.4.6': 'Die Mailsysteme schicken die Nachricht im Kreis. Fragen Sie Ihren Postmaster.',
    '5.6': 'Das andere System kann mit dieser Art von Inhalt oder Adresse nicht umgehen. Senden Sie die Nachricht in einfacherer Form.',
    '5.7': 'Das andere System hat die Nachricht nach seinen Regeln abgelehnt. Halten Sie das für einen Irrtum, fragen Sie Ihren Postmaster.',
  },
}

export const reportTexts = { en, de }

/** The texts of a language, with those that an operator has replaced. */
export function textsFor(language: keyof typeof reportTexts, replaced: Partial<ReportTexts>): ReportTexts {
  const texts = reportTexts[language]
  return { ...texts, ...replaced, advice: { ...texts.advice, ...replaced.advice } }
}
